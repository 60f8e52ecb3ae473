//! The host module `spectest` that scripts import from.

use palisade::{
    Caller, Engine, Extern, Global, GlobalType, Linker, Memory, MemoryType, Mutability, Ref,
    RefType, Result, SharedMemory, Store, Table, TableType, Val, ValType,
};

/// A linker with `spectest` in it.
pub(crate) fn linker(engine: &Engine, store: &mut Store<()>) -> Result<Linker<()>> {
    let mut linker = Linker::new(engine);
    linker.allow_shadowing(true);
    linker.func_wrap("spectest", "print", || {})?;
    linker.func_wrap("spectest", "print_i32", |_: i32| {})?;
    linker.func_wrap("spectest", "print_i64", |_: i64| {})?;
    linker.func_wrap("spectest", "print_f32", |_: f32| {})?;
    linker.func_wrap("spectest", "print_f64", |_: Caller<'_, ()>, _: f64| {})?;
    linker.func_wrap("spectest", "print_i32_f32", |_: i32, _: f32| {})?;
    linker.func_wrap("spectest", "print_f64_f64", |_: f64, _: f64| {})?;
    let globals = [
        ("global_i32", ValType::I32, Val::I32(666)),
        ("global_i64", ValType::I64, Val::I64(666)),
        ("global_f32", ValType::F32, Val::from(666.6_f32)),
        ("global_f64", ValType::F64, Val::from(666.6_f64)),
    ];
    let mut objects: Vec<(&str, Extern)> = Vec::new();
    for (name, ty, value) in globals {
        let global = Global::new(&mut *store, GlobalType::new(ty, Mutability::Const), value)?;
        objects.push((name, global.into()));
    }
    let table = TableType::new(RefType::FUNCREF, 10, Some(20));
    objects.push(("table", Table::new(&mut *store, table, Ref::Func(None))?.into()));
    let table64 = TableType::new64(RefType::FUNCREF, 10, Some(20));
    objects.push(("table64", Table::new(&mut *store, table64, Ref::Func(None))?.into()));
    objects.push(("memory", Memory::new(&mut *store, MemoryType::new(1, Some(2)))?.into()));
    if threads(engine) {
        let shared = SharedMemory::new(engine, MemoryType::shared(1, 2))?;
        objects.push(("shared_memory", shared.into()));
    }
    for (name, object) in objects {
        linker.define(&*store, "spectest", name, object)?;
    }
    Ok(linker)
}

/// Whether scripts can have shared memories.
fn threads(engine: &Engine) -> bool {
    engine.config().features().any(|(name, enabled)| name == "wasm_threads" && enabled)
}
