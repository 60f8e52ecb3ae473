//! Carries a plan out in Palisade.

use palisade::{
    AnyRef, AsContextMut, Config, Dispatch, Engine, Error, ErrorKind, Extern, ExternType, Func,
    Global, I31, Instance, Memory, Module, Ref, Resource, RootScope, SharedMemory, Store, Strategy,
    Table, TrapCode, Tuning, Val,
};

use crate::plan::{Act, Family, Give, Plan, Value, canonical32, canonical64, mix, mixed};
use crate::trace::{DEPTH, ELEMENTS, Outcome, Seen, Trace, hash, limit, nulls, show_f32, show_f64};

/// Fuel for one call: enough for what ends, little for what does not.
const FUEL: u64 = 50_000;

fn config(dispatch: Dispatch, fuel: bool) -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Interpreter)
        .dispatch(dispatch)
        .consume_fuel(fuel)
        .max_wasm_stack(256 << 10)
        .call_depth(Some(100));
    config
}

/// An engine that makes machine code, and what it is called.
pub struct Machine {
    pub name: &'static str,
    pub engine: Engine,
    /// Whether its heap collects at every allocation.
    pub stressed: bool,
}

/// Engines that make machine code: with bounds by pages and by comparing, counting fuel and not, checked by the
/// compiler itself, with a heap that collects at every allocation, and in turns with the interpreter, so that
/// every function and loop changes engine as early as it can. Frames of machine code are larger.
pub fn machines() -> Vec<Machine> {
    let make = |name, stressed, change: &dyn Fn(&mut Config)| {
        let mut config = config(Dispatch::Auto, true);
        config.strategy(Strategy::Compiled).max_wasm_stack(8 << 20).paranoid(false);
        config.gc_stress(stressed);
        change(&mut config);
        Machine { name, engine: Engine::new(&config).expect("this processor is known"), stressed }
    };
    let tiers = |c: &mut Config| {
        let eager = Tuning { threshold: 1, wait: true, ..Tuning::default() };
        c.strategy(Strategy::Auto).tuning(eager);
    };
    vec![
        make("compiled", false, &|_| {}),
        make("compiled, without fuel", false, &|c| {
            c.consume_fuel(false);
        }),
        make("compiled, explicit bounds, paranoid, baseline", false, &|c| {
            c.memory_guard_size(0).paranoid(true).baseline_cpu(true);
        }),
        make("compiled, collecting", true, &|_| {}),
        make("tiered", false, &tiers),
        make("tiered, collecting", true, &tiers),
    ]
}

pub fn engine(dispatch: Dispatch, fuel: bool) -> Engine {
    Engine::new(&config(dispatch, fuel)).expect("both dispatchers work")
}

/// An engine that collects at every allocation.
pub fn stressed() -> Engine {
    Engine::new(config(Dispatch::TailCall, true).gc_stress(true)).expect("both dispatchers work")
}

/// An engine that lacks the proposals that V8 lacks.
pub fn narrow() -> Engine {
    let mut config = Config::new();
    config.wasm_wide_arithmetic(false).wasm_custom_page_sizes(false);
    Engine::new(&config).expect("proposals that nothing else needs")
}

fn to_val(value: Value) -> Val {
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
        Value::I31(x) => Val::AnyRef(Some(AnyRef::from_i31(I31::wrapping_u32(x)))),
    }
}

/// A value in words; of objects, what is in them.
fn show(store: &mut impl AsContextMut, value: &Val, depth: u32) -> String {
    match value {
        Val::I32(x) => format!("i32:{x}"),
        Val::I64(x) => format!("i64:{x}"),
        Val::F32(x) => show_f32(*x),
        Val::F64(x) => show_f64(*x),
        Val::V128(x) => format!("v128:{:032x}", x.as_u128()),
        Val::AnyRef(Some(any)) => object(store, any, depth).unwrap_or_else(|e| e.to_string()),
        other => if other.as_ref().is_none_or(|r| r.is_null()) { "null" } else { "ref" }.into(),
    }
}

fn object(store: &mut impl AsContextMut, any: &AnyRef, depth: u32) -> palisade::Result<String> {
    if let Some(x) = any.as_i31(&*store)? {
        return Ok(format!("i31:{}", x.get_i32()));
    }
    if depth == 0 {
        return Ok("ref".into());
    }
    let mut parts = Vec::new();
    if let Some(it) = any.as_struct(&*store)? {
        for field in 0..it.field_count(&*store)? {
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

/// What an argument of an import function counts as.
fn weight(value: &Val) -> u64 {
    match value {
        Val::I32(x) => u64::from(*x as u32),
        Val::I64(x) => *x as u64,
        Val::F32(x) => canonical32(*x),
        Val::F64(x) => canonical64(*x),
        Val::V128(x) => x.as_u128() as u64 ^ (x.as_u128() >> 64) as u64,
        other => u64::from(other.as_ref().is_some_and(|r| !r.is_null())),
    }
}

fn class(error: &Error) -> String {
    let Some(code) = error.trap_code() else {
        return match error.kind() {
            ErrorKind::Limit(_) => limit("resource"),
            // The host cannot make functions of types that others may be subtypes of.
            ErrorKind::Link(_) => limit("link"),
            _ => format!("other: {error}"),
        };
    };
    match code {
        TrapCode::Unreachable => "unreachable",
        TrapCode::MemoryOutOfBounds => "memory",
        TrapCode::TableOutOfBounds => "table",
        TrapCode::UndefinedElement => "undefined",
        TrapCode::UninitializedElement => "uninitialized",
        TrapCode::IndirectCallTypeMismatch => "signature",
        TrapCode::IntegerOverflow => "overflow",
        TrapCode::IntegerDivideByZero => "zero",
        TrapCode::InvalidConversionToInteger => "conversion",
        TrapCode::NullReference
        | TrapCode::NullFunctionReference
        | TrapCode::NullStructReference
        | TrapCode::NullArrayReference
        | TrapCode::NullI31Reference
        | TrapCode::NullExceptionReference => "null",
        TrapCode::ArrayOutOfBounds => "array",
        TrapCode::CastFailure => "cast",
        TrapCode::UncaughtException => "exception",
        TrapCode::UnalignedAtomic => "unaligned",
        TrapCode::ExpectedSharedMemory => "unshared",
        TrapCode::StackOverflow | TrapCode::CallDepthExceeded => return limit("stack"),
        TrapCode::OutOfFuel => return limit("fuel"),
        TrapCode::HeapExhausted | TrapCode::AllocationTooLarge => return limit("heap"),
        TrapCode::LimitExceeded => return limit("resource"),
        other => return format!("other: {other:?}"),
    }
    .into()
}

/// Where it happened, which only runs of ours have in common.
fn place(error: &Error) -> String {
    let frame = |f: &palisade::FrameInfo| (f.func_index(), f.module_offset());
    let frames: Vec<_> =
        error.backtrace().map(|b| b.frames().iter().map(frame).collect()).unwrap_or_default();
    format!("{:?} {frames:?}", error.trap_code())
}

fn imports(store: &mut Store<()>, module: &Module, plan: &Plan) -> palisade::Result<Vec<Extern>> {
    let mut made = Vec::new();
    for (import, give) in module.imports().zip(&plan.gives) {
        made.push(match (import.ty(), give) {
            (ExternType::Func(ty), Give::Func(results)) => {
                let results = results.clone();
                Func::new(&mut *store, ty.clone(), move |_, args, out| {
                    let sum = mix(args.iter().map(weight));
                    for (to, from) in out.iter_mut().zip(&results) {
                        *to = to_val(mixed(*from, sum));
                    }
                    Ok(())
                })?
                .into()
            }
            (ExternType::Global(ty), Give::Global(value)) => {
                Global::new(&mut *store, ty.clone(), to_val(*value))?.into()
            }
            (ExternType::Memory(ty), _) if ty.is_shared() => {
                SharedMemory::new(store.engine(), ty.clone())?.into()
            }
            (ExternType::Memory(ty), _) => Memory::new(&mut *store, ty.clone())?.into(),
            (ExternType::Table(ty), Give::Table(family)) => {
                let null = match family {
                    Family::Func => Ref::Func(None),
                    Family::Extern => Ref::Extern(None),
                    Family::Any => Ref::Any(None),
                    Family::Exn => Ref::Exn(None),
                };
                Table::new(&mut *store, ty.clone(), null)?.into()
            }
            (ExternType::Tag(ty), _) => palisade::Tag::new(&mut *store, ty)?.into(),
            (other, _) => return Err(Error::msg(format!("no plan for {other:?}"))),
        });
    }
    Ok(made)
}

fn state(store: &mut Store<()>, instance: Instance) -> Vec<String> {
    let mut scope = RootScope::new(store);
    let exports: Vec<_> = instance.exports(&scope).map(|export| export.into_extern()).collect();
    let mut shown = Vec::new();
    for export in exports {
        shown.push(match export {
            Extern::Memory(memory) => hash(memory.data(&scope)),
            Extern::SharedMemory(memory) => {
                let mut bytes = vec![0; memory.data_size()];
                match memory.read(0, &mut bytes) {
                    Ok(()) => hash(&bytes),
                    Err(error) => error.to_string(),
                }
            }
            Extern::Global(global) => match global.get(&mut scope) {
                Ok(value) => show(&mut scope, &value, DEPTH),
                Err(error) => error.to_string(),
            },
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

/// Calls a function; what it gives, in words.
fn call(store: &mut Store<()>, func: Func, args: &[Value]) -> palisade::Result<Vec<String>> {
    let mut scope = RootScope::new(store);
    let args: Vec<_> = args.iter().map(|value| to_val(*value)).collect();
    let mut results = vec![Val::I32(0); func.ty(&scope)?.results().len()];
    func.call(&mut scope, &args, &mut results)?;
    Ok(results.iter().map(|value| show(&mut scope, value, DEPTH)).collect())
}

/// Carries the plan out. An error is a bug of ours, or of the plan's.
pub fn run(engine: &Engine, module: &Module, plan: &Plan) -> palisade::Result<Trace> {
    let mut store = Store::try_new(engine, ())?;
    store.set_resource_limit(Resource::MemoryBytes, Some(64 << 20));
    let metered = engine.config().metered();
    let fuel = |store: &mut Store<()>| if metered { store.set_fuel(FUEL) } else { Ok(()) };
    let imports = imports(&mut store, module, plan)?;
    let mut trace = Trace::default();
    fuel(&mut store)?;
    let instance = match Instance::new(&mut store, module, &imports) {
        Ok(instance) => instance,
        Err(error) => {
            trace.own.push(place(&error));
            trace.failed = Some(class(&error));
            return Ok(trace);
        }
    };
    for act in &plan.acts {
        match act {
            Act::Write(name, value) => {
                let global = instance.get_global(&store, name);
                let global = global.ok_or_else(|| Error::msg("an export is gone"))?;
                global.set(&mut store, to_val(*value))?;
            }
            Act::Call(name, args) => {
                let func = instance.get_func(&store, name);
                let func = func.ok_or_else(|| Error::msg("an export is gone"))?;
                fuel(&mut store)?;
                let outcome: Outcome = match call(&mut store, func, args) {
                    Ok(results) => Ok(results),
                    Err(error) => {
                        trace.own.push(place(&error));
                        Err(class(&error))
                    }
                };
                trace.own.extend(store.get_fuel().ok().map(|left| left.to_string()));
                let state = state(&mut store, instance);
                trace.calls.push(Seen { outcome, state });
            }
        }
    }
    Ok(trace)
}
