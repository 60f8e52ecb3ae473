//! Carries a plan out in wasmtime, whose compiler shares nothing with our interpreter (its parser does).

use wasmtime::{
    AsContextMut, Config, Engine, Error, Extern, ExternType, Func, Global, HeapType, Instance,
    Memory, Module, Ref, Result, RootScope, SharedMemory, Store, Table, Tag, Trap, Val,
};

use crate::plan::{Act, Family, Give, Plan, Value, canonical32, canonical64, mix, mixed};
use crate::trace::{DEPTH, ELEMENTS, Outcome, Seen, Trace, hash, limit, nulls, show_f32, show_f64};

/// Fuel for one call: more than ours could be worth, so that ours ends first.
const FUEL: u64 = 100_000_000;

pub fn engine() -> Result<Engine> {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .max_wasm_stack(1 << 20)
        .shared_memory(true)
        .relaxed_simd_deterministic(true)
        .wasm_tail_call(true)
        .wasm_custom_page_sizes(true)
        .wasm_threads(true)
        .wasm_function_references(true)
        .wasm_wide_arithmetic(true)
        .wasm_gc(true)
        .wasm_multi_memory(true)
        .wasm_memory64(true)
        .wasm_extended_const(true)
        .wasm_exceptions(true);
    Engine::new(&config)
}

fn to_val(store: &mut impl AsContextMut, value: Value) -> Val {
    match value {
        Value::I32(x) => Val::I32(x),
        Value::I64(x) => Val::I64(x),
        Value::F32(x) => Val::F32(x),
        Value::F64(x) => Val::F64(x),
        Value::V128(x) => Val::V128(x.into()),
        Value::Null(Family::Func) => Val::FuncRef(None),
        Value::Null(Family::Extern) => Val::ExternRef(None),
        Value::Null(Family::Any) => Val::AnyRef(None),
        Value::Null(Family::Exn) => Val::ExnRef(None),
        Value::I31(x) => {
            let small = wasmtime::I31::wrapping_u32(x);
            Val::AnyRef(Some(wasmtime::AnyRef::from_i31(store, small)))
        }
    }
}

fn show(store: &mut impl AsContextMut, value: &Val, depth: u32) -> String {
    match value {
        Val::I32(x) => format!("i32:{x}"),
        Val::I64(x) => format!("i64:{x}"),
        Val::F32(x) => show_f32(*x),
        Val::F64(x) => show_f64(*x),
        Val::V128(x) => format!("v128:{:032x}", x.as_u128()),
        Val::AnyRef(Some(any)) => object(store, any, depth).unwrap_or_else(|e| e.to_string()),
        Val::FuncRef(None) | Val::ExternRef(None) | Val::AnyRef(None) | Val::ExnRef(None) => {
            "null".into()
        }
        _ => "ref".into(),
    }
}

fn object(
    store: &mut impl AsContextMut,
    any: &wasmtime::Rooted<wasmtime::AnyRef>,
    depth: u32,
) -> Result<String> {
    if let Some(x) = any.as_i31(&*store)? {
        return Ok(format!("i31:{}", x.get_i32()));
    }
    if depth == 0 {
        return Ok("ref".into());
    }
    let mut parts = Vec::new();
    if let Some(it) = any.as_struct(&*store)? {
        let count = it.fields(&mut *store)?.len();
        for field in 0..count {
            let value = it.field(&mut *store, field)?;
            parts.push(show(store, &value, depth - 1));
        }
        return Ok(format!("{{{}}}", parts.join(",")));
    }
    if let Some(it) = any.as_array(&*store)? {
        let len = it.len(&*store)?;
        for element in 0..len.min(ELEMENTS) {
            let value = it.get(&mut *store, element)?;
            parts.push(show(store, &value, depth - 1));
        }
        return Ok(format!("[{len}:{}]", parts.join(",")));
    }
    Ok("ref".into())
}

fn weight(value: &Val) -> u64 {
    match value {
        Val::I32(x) => u64::from(*x as u32),
        Val::I64(x) => *x as u64,
        Val::F32(x) => canonical32(*x),
        Val::F64(x) => canonical64(*x),
        Val::V128(x) => x.as_u128() as u64 ^ (x.as_u128() >> 64) as u64,
        Val::FuncRef(None) | Val::ExternRef(None) | Val::AnyRef(None) | Val::ExnRef(None) => 0,
        _ => 1,
    }
}

fn class(store: &mut Store<()>, error: &Error) -> String {
    if error.is::<wasmtime::ThrownException>() {
        let _ = store.take_pending_exception();
        return "exception".into();
    }
    if error.is::<wasmtime::GcHeapOutOfMemory<()>>() {
        return limit("heap");
    }
    let Some(trap) = error.downcast_ref::<Trap>() else {
        return format!("other: {error:?}");
    };
    match trap {
        Trap::UnreachableCodeReached => "unreachable",
        Trap::MemoryOutOfBounds => "memory",
        Trap::TableOutOfBounds => "table",
        Trap::IndirectCallToNull => "uninitialized",
        Trap::BadSignature => "signature",
        Trap::IntegerOverflow => "overflow",
        Trap::IntegerDivisionByZero => "zero",
        Trap::BadConversionToInteger => "conversion",
        Trap::NullReference => "null",
        Trap::ArrayOutOfBounds => "array",
        Trap::CastFailure => "cast",
        Trap::HeapMisaligned => "unaligned",
        Trap::AtomicWaitNonSharedMemory => "unshared",
        Trap::StackOverflow => return limit("stack"),
        Trap::OutOfFuel => return limit("fuel"),
        Trap::AllocationTooLarge => return limit("heap"),
        other => return format!("other: {other:?}"),
    }
    .into()
}

fn imports(store: &mut Store<()>, module: &Module, plan: &Plan) -> Result<Vec<Extern>> {
    let mut made = Vec::new();
    for (import, give) in module.imports().zip(&plan.gives) {
        made.push(match (import.ty(), give) {
            (ExternType::Func(ty), Give::Func(results)) => {
                let results = results.clone();
                Func::new(&mut *store, ty, move |mut caller, args, out| {
                    let sum = mix(args.iter().map(weight));
                    for (to, from) in out.iter_mut().zip(&results) {
                        *to = match mixed(*from, sum) {
                            Value::I31(x) => {
                                let small = wasmtime::I31::wrapping_u32(x);
                                Val::AnyRef(Some(wasmtime::AnyRef::from_i31(&mut caller, small)))
                            }
                            Value::I32(x) => Val::I32(x),
                            Value::I64(x) => Val::I64(x),
                            Value::F32(x) => Val::F32(x),
                            Value::F64(x) => Val::F64(x),
                            Value::V128(x) => Val::V128(x.into()),
                            Value::Null(Family::Func) => Val::FuncRef(None),
                            Value::Null(Family::Extern) => Val::ExternRef(None),
                            Value::Null(Family::Any) => Val::AnyRef(None),
                            Value::Null(Family::Exn) => Val::ExnRef(None),
                        };
                    }
                    Ok(())
                })
                .into()
            }
            (ExternType::Global(ty), Give::Global(value)) => {
                let value = to_val(store, *value);
                Global::new(&mut *store, ty, value)?.into()
            }
            (ExternType::Memory(ty), _) if ty.is_shared() => {
                SharedMemory::new(store.engine(), ty)?.into()
            }
            (ExternType::Memory(ty), _) => Memory::new(&mut *store, ty)?.into(),
            (ExternType::Table(ty), Give::Table(family)) => {
                let heap = match family {
                    Family::Func => HeapType::Func,
                    Family::Extern => HeapType::Extern,
                    Family::Any => HeapType::Any,
                    Family::Exn => HeapType::Exn,
                };
                Table::new(&mut *store, ty, Ref::null(&heap))?.into()
            }
            (ExternType::Tag(ty), _) => Tag::new(&mut *store, &ty)?.into(),
            (other, _) => return Err(Error::msg(format!("no plan for {other:?}"))),
        });
    }
    Ok(made)
}

fn state(store: &mut Store<()>, exports: &[Extern]) -> Vec<String> {
    let mut scope = RootScope::new(store);
    let mut shown = Vec::new();
    for export in exports {
        shown.push(match export {
            Extern::Memory(memory) => hash(memory.data(&scope)),
            Extern::SharedMemory(memory) => {
                // SAFETY: the guest has ended, and no other thread has this memory.
                let bytes: Vec<u8> =
                    memory.data().iter().map(|cell| unsafe { *cell.get() }).collect();
                hash(&bytes)
            }
            Extern::Global(global) => {
                let value = global.get(&mut scope);
                show(&mut scope, &value, DEPTH)
            }
            Extern::Table(table) => {
                let size = table.size(&scope);
                let null = |at| table.get(&mut scope, at).is_none_or(|r| r.is_null());
                nulls((0..size).map(null))
            }
            _ => continue,
        });
    }
    shown
}

fn call(store: &mut Store<()>, func: Func, args: &[Value]) -> Result<Vec<String>> {
    let mut scope = RootScope::new(store);
    let args: Vec<_> = args.iter().map(|value| to_val(&mut scope, *value)).collect();
    let mut results = vec![Val::I32(0); func.ty(&scope).results().len()];
    func.call(&mut scope, &args, &mut results)?;
    Ok(results.iter().map(|value| show(&mut scope, value, DEPTH)).collect())
}

/// Carries the plan out; an error says why this engine cannot.
pub fn run(engine: &Engine, bytes: &[u8], plan: &Plan) -> Result<Trace> {
    let module = Module::new(engine, bytes)?;
    let mut store = Store::new(engine, ());
    store.set_fuel(FUEL)?;
    let imports = imports(&mut store, &module, plan)?;
    let mut trace = Trace::default();
    let instance = match Instance::new(&mut store, &module, &imports) {
        Ok(instance) => instance,
        Err(error) => {
            trace.failed = Some(class(&mut store, &error));
            return Ok(trace);
        }
    };
    let exports: Vec<_> = instance.exports(&mut store).map(|e| e.into_extern()).collect();
    for act in &plan.acts {
        match act {
            Act::Write(name, value) => {
                let global = instance.get_global(&mut store, name);
                let value = to_val(&mut store, *value);
                global.ok_or_else(|| Error::msg("an export is gone"))?.set(&mut store, value)?;
            }
            Act::Call(name, args) => {
                let func = instance.get_func(&mut store, name);
                let func = func.ok_or_else(|| Error::msg("an export is gone"))?;
                store.set_fuel(FUEL)?;
                let outcome: Outcome =
                    call(&mut store, func, args).map_err(|error| class(&mut store, &error));
                let state = state(&mut store, &exports);
                trace.calls.push(Seen { outcome, state });
            }
        }
    }
    Ok(trace)
}
