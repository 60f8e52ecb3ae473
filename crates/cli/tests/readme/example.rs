use palisade::{Config, Engine, Linker, Module, Store};

fn main() -> palisade::Result<()> {
    let mut config = Config::new();
    config.consume_fuel(true);
    let engine = Engine::new(&config)?;
    let module = Module::new(
        &engine,
        r#"(module
             (import "host" "double" (func $double (param i32) (result i32)))
             (func (export "run") (param i32) (result i32)
               local.get 0 call $double i32.const 1 i32.add))"#,
    )?;

    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "double", |x: i32| x * 2)?;

    let mut store = Store::new(&engine, ());
    store.set_fuel(1_000_000)?;
    let instance = linker.instantiate(&mut store, &module)?;
    let run = instance.get_typed_func::<i32, i32>(&mut store, "run")?;
    assert_eq!(run.call(&mut store, 20)?, 41);
    Ok(())
}
