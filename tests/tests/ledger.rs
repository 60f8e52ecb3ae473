//! The ledger as embedders see it: one builder, one form of what ran out, the same in every engine.

use std::time::Duration;

use palisade::{
    Config, Engine, Error, Instance, Linker, Module, Resource, ResourceLimits, Store, TrapCode,
};
use palisade_tests::{ENGINES, Kind};

fn engine(kind: Kind, limits: &ResourceLimits) -> Engine {
    let mut config = Config::new();
    kind.configure(&mut config).limit_resources(limits);
    Engine::new(&config).expect("an engine")
}

/// What ends a guest that runs `f` with these limits.
fn ended(kind: Kind, limits: &ResourceLimits, text: &str) -> Error {
    let engine = engine(kind, limits);
    let module = Module::new(&engine, text).expect("a module");
    let mut store = Store::new(&engine, ());
    store.set_limits(limits).expect("limits that fit the engine");
    let run = |store: &mut Store<()>| {
        let instance: Instance = Linker::new(&engine).instantiate(&mut *store, &module)?;
        let f = instance.get_typed_func::<(), ()>(&mut *store, "f")?;
        f.call(&mut *store, ())
    };
    let error = run(&mut store).expect_err("something runs out");
    let line =
        store.ledger().into_iter().find(|line| Some(line.what) == error.refusal().map(|r| r.what));
    let line = line.unwrap_or_else(|| panic!("{kind:?}: what ran out? {error}"));
    assert_eq!(line.limit, error.refusal().map(|refusal| refusal.limit), "{kind:?}: {error}");
    error
}

#[test]
fn what_runs_out_is_said_in_one_form_in_every_engine() {
    let endless = r#"(module (func (export "f") (loop (br 0))))"#;
    let deep = r#"(module (func $f (export "f") (call $f) (call $f)))"#;
    let start = ResourceLimits::new;
    let cases = [
        (start().fuel(1000), endless, Resource::Fuel, Some(TrapCode::OutOfFuel)),
        (
            start().timeout(Duration::from_millis(20)),
            endless,
            Resource::Time,
            Some(TrapCode::DeadlineExceeded),
        ),
        (start(), deep, Resource::StackBytes, Some(TrapCode::StackOverflow)),
        (start().call_depth(50), deep, Resource::CallDepth, Some(TrapCode::CallDepthExceeded)),
        (
            start().memory_size(1 << 16),
            r#"(module (memory 2) (func (export "f")))"#,
            Resource::MemoryBytes,
            Some(TrapCode::LimitExceeded),
        ),
        (
            start().memory_size(1 << 20),
            r#"(module (type $a (array (mut i64))) (func (export "f")
                 (drop (array.new_default $a (i32.const 200000)))))"#,
            Resource::MemoryBytes,
            Some(TrapCode::HeapExhausted),
        ),
        (
            start().table_elements(9),
            r#"(module (table 10 funcref) (func (export "f")))"#,
            Resource::TableElements,
            Some(TrapCode::LimitExceeded),
        ),
        (start().instances(0), endless, Resource::Instances, Some(TrapCode::LimitExceeded)),
        (start().host_memory(10), endless, Resource::HostBytes, Some(TrapCode::LimitExceeded)),
        (
            start().wait_time(Duration::from_millis(5)),
            r#"(module (memory 1 1 shared) (func (export "f")
                 (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1)))))"#,
            Resource::WaitTime,
            Some(TrapCode::LimitExceeded),
        ),
    ];
    for kind in ENGINES {
        for (limits, text, what, code) in &cases {
            // Counting calls in machine code is decided with the engine, and this kind counts them always.
            if kind == Kind::Checked && *what == Resource::StackBytes {
                continue;
            }
            let error = ended(kind, limits, text);
            let refusal = *error.refusal().expect("it is known");
            assert_eq!((refusal.what, error.trap_code()), (*what, *code), "{kind:?}: {error}");
            let said = error.to_string();
            let raises = format!("`ResourceLimits::{}` raises it", what.setter());
            assert!(said.contains(&refusal.to_string()) && said.contains(&raises), "{said}");
            let plain = format!("{error:#}");
            assert!(
                plain.contains(&refusal.to_string()) && !plain.contains("raises it"),
                "{plain}"
            );
        }
    }
}

#[test]
fn the_ledger_of_a_store_has_a_line_for_everything() {
    let limits = ResourceLimits::sandbox();
    let engine = engine(Kind::Tiering, &limits);
    let module = r#"(module (memory 3) (table 5 funcref) (func (export "f") (loop)))"#;
    let module = Module::new(&engine, module).expect("a module");
    let mut store = Store::new(&engine, ());
    store.set_limits(&limits).expect("limits");
    let instance = Linker::new(&engine).instantiate(&mut store, &module).expect("an instance");
    instance
        .get_typed_func::<(), ()>(&mut store, "f")
        .expect("f")
        .call(&mut store, ())
        .expect("ok");
    let lines = store.ledger();
    assert!(lines.iter().map(|line| line.what).eq(Resource::ALL.iter().copied()));
    for line in &lines {
        assert_eq!(line.limit, Some(line.what.sandbox()), "{line:?}");
    }
    let used = |what| lines.iter().find(|line| line.what == what).expect("a line").in_use;
    assert_eq!(used(Resource::MemoryBytes), Some(3 << 16));
    assert_eq!(used(Resource::TableElements), Some(5));
    assert_eq!((used(Resource::Instances), used(Resource::Memories)), (Some(1), Some(1)));
    assert!(used(Resource::Fuel) > Some(0) && used(Resource::Time) > Some(0));
    assert!(used(Resource::HostBytes) > Some(0));
    // Not what was not asked for: a store without limits.
    let open = Store::new(&engine, ());
    for line in open.ledger() {
        let fixed = matches!(
            line.what,
            Resource::StackBytes | Resource::Descriptors | Resource::CallDepth | Resource::Fuel
        );
        assert_eq!(line.limit.is_some(), fixed, "{line:?}");
    }
}

#[test]
fn limits_that_the_engine_does_not_know_of_are_an_error() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let error = store.set_limits(&ResourceLimits::sandbox()).expect_err("fuel is not metered");
    assert!(error.to_string().contains("consume_fuel"), "{error}");
    let small = ResourceLimits::new().stack_size(128 << 10);
    let error = store.set_limits(&small).expect_err("a larger stack");
    assert!(error.to_string().contains("limit_resources"), "{error}");
}

#[test]
fn what_modules_take_is_paid_for_once_in_each_store() {
    let engine = Engine::default();
    let padding = "x".repeat(100_000);
    let text = format!(r#"(module (@custom "padding" "{padding}") (func (export "f")))"#);
    let module = Module::new(&engine, &text).expect("a module");
    let linker = Linker::new(&engine);
    for _ in 0..2 {
        let mut store: Store<()> = Store::new(&engine, ());
        linker.instantiate(&mut store, &module).expect("an instance");
        let first = store.resource_use(Resource::HostBytes);
        assert!(first > 100_000, "{first}");
        linker.instantiate(&mut store, &module).expect("an instance");
        let second = store.resource_use(Resource::HostBytes) - first;
        assert!(second < 10_000, "{second}");
    }
    // What could not be made has not paid, and pays when it is made after all.
    let mut store: Store<()> = Store::new(&engine, ());
    store.set_resource_limit(Resource::HostBytes, Some(50_000));
    for _ in 0..2 {
        linker.instantiate(&mut store, &module).expect_err("too large");
        assert_eq!(store.resource_use(Resource::HostBytes), 0);
    }
    store.set_resource_limit(Resource::HostBytes, None);
    linker.instantiate(&mut store, &module).expect("an instance");
    assert!(store.resource_use(Resource::HostBytes) > 100_000);
}
