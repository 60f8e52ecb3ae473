//! Generated modules, and what can be seen of a run of one: outcomes with places, what changed, what is left of
//! the fuel, and what each call of the host was like.

use std::hash::{DefaultHasher, Hash, Hasher};

use palisade::{
    AsContextMut, Caller, Engine, Extern, ExternType, Func, Global, Instance, Memory, Module,
    Mutability, Resource, RootScope, SharedMemory, Store, Table, Tag, TrapCode, Val, ValType,
};
use wasm_smith::{Config as SmithConfig, Module as SmithModule};

use crate::hostile_support::Rng;

/// So many calls of the host are looked at with all the state that there is; all others with their arguments.
const LOOKED_AT: usize = 6;

/// Fuel for one call: enough for what ends, little for what does not.
const FUEL: u64 = 50_000;

/// What a module may contain: everything but what may differ between runs.
fn smith(rng: &mut Rng) -> SmithConfig {
    let allow = |rng: &mut Rng| rng.chance(60);
    SmithConfig {
        min_funcs: 6,
        max_funcs: 12,
        max_instructions: 300,
        max_types: 15,
        max_globals: 12,
        max_element_segments: 6,
        max_data_segments: 6,
        max_memories: 1 + rng.below(3) as usize,
        max_tables: 1 + rng.below(3) as usize,
        min_memories: u32::from(allow(rng)),
        min_tables: u32::from(allow(rng)),
        max_memory32_bytes: 1 << 20,
        max_memory64_bytes: 1 << 20,
        max_table_elements: 1_000,
        memory64_enabled: allow(rng),
        tail_call_enabled: allow(rng),
        bulk_memory_enabled: true,
        reference_types_enabled: true,
        multi_value_enabled: true,
        extended_const_enabled: allow(rng),
        custom_page_sizes_enabled: allow(rng),
        wide_arithmetic_enabled: allow(rng),
        sign_extension_ops_enabled: true,
        saturating_float_to_int_enabled: true,
        simd_enabled: allow(rng),
        relaxed_simd_enabled: allow(rng),
        gc_enabled: allow(rng),
        exceptions_enabled: allow(rng),
        compact_imports_enabled: false,
        threads_enabled: rng.chance(30),
        shared_everything_threads_enabled: false,
        canonicalize_nans: true,
        export_everything: true,
        disallow_traps: allow(rng),
        allow_start_export: rng.chance(15),
        max_imports: 4,
        max_nesting_depth: 40,
        ..SmithConfig::default()
    }
}

/// A generated module, if the bytes are enough for one.
pub fn generate(seed: u64) -> Option<Vec<u8>> {
    let mut rng = Rng::new(seed);
    let config = smith(&mut rng);
    let length = 3_000 + rng.below(20_000) as usize;
    let bytes = rng.bytes(length);
    let mut unstructured = arbitrary::Unstructured::new(&bytes);
    let threads = config.threads_enabled;
    let bytes = SmithModule::new(config, &mut unstructured).ok()?.to_bytes();
    // Nobody would wake a guest that waits. What looks like such an operator may be something else, but
    // nothing that is one looks otherwise.
    if threads && bytes.windows(2).any(|pair| matches!(pair, [0xfe, 1 | 2])) {
        return None;
    }
    Some(bytes)
}

/// The bits of a value; references only say whether they are null.
pub fn bits(value: &Val) -> u64 {
    match value {
        Val::V128(x) => {
            let x = x.as_u128();
            (x as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (x >> 64) as u64
        }
        other => crate::hostile_support::bits(other),
    }
}

/// A call of a host function.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostCall {
    pub args: Vec<u64>,
    /// What the calling instance looked like, if this was one of the first.
    pub state: Option<u64>,
    /// What was left of the fuel, where it is metered.
    pub fuel: Option<u64>,
}

/// What a store keeps about its host calls.
#[derive(Default, Debug)]
pub struct Ledger {
    pub calls: Vec<HostCall>,
}

/// Notes a call of the host.
pub fn note(caller: &mut Caller<'_, Ledger>, args: &[Val]) {
    let number = caller.data().calls.len();
    let instance = caller.instance().filter(|_| number < LOOKED_AT);
    let state = instance.map(|instance| state(&mut *caller, instance));
    let fuel = caller.get_fuel().ok();
    let args = args.iter().map(bits).collect();
    caller.data_mut().calls.push(HostCall { args, state, fuel });
}

/// A value for a parameter or an import; the same on every configuration.
fn argument(rng: &mut Rng, ty: &ValType) -> Val {
    let int = |rng: &mut Rng| match rng.below(3) {
        0 => rng.below(16),
        1 => rng.next(),
        _ => *rng.pick(&[u64::MAX, 1 << 31, 1 << 32, 1 << 63, 65_535, 65_536]),
    };
    let float = |rng: &mut Rng| *rng.pick(&[0.0, -0.0, 1.5, -1e9, f64::NAN, f64::INFINITY, 4e9]);
    match ty {
        ValType::I32 => Val::I32(int(rng) as i32),
        ValType::I64 => Val::I64(int(rng) as i64),
        ValType::F32 => Val::F32((float(rng) as f32).to_bits()),
        ValType::F64 => Val::F64(float(rng).to_bits()),
        other => Val::default_for(other).unwrap_or(Val::I32(0)),
    }
}

/// Something for each import: functions that give fixed values, and objects of the type asked for.
fn imports(
    store: &mut Store<Ledger>,
    module: &Module,
    rng: &mut Rng,
) -> palisade::Result<Vec<Extern>> {
    let mut made = Vec::new();
    for import in module.imports() {
        made.push(match import.ty() {
            ExternType::Func(ty) => {
                let results: Vec<_> = ty.results().iter().map(|ty| argument(rng, ty)).collect();
                let func = Func::new(
                    &mut *store,
                    ty.clone(),
                    move |mut caller: Caller<'_, Ledger>, args, out| {
                        note(&mut caller, args);
                        // What comes in shows in what goes out, where that is a number.
                        let sum =
                            args.iter().fold(0u64, |sum, arg| sum.wrapping_mul(31) ^ bits(arg));
                        for (to, from) in out.iter_mut().zip(&results) {
                            *to = match *from {
                                Val::I32(x) => Val::I32(x ^ sum as i32),
                                Val::I64(x) => Val::I64(x ^ sum as i64),
                                other => other,
                            };
                        }
                        Ok(())
                    },
                )?;
                func.into()
            }
            ExternType::Global(ty) => {
                let value = argument(rng, ty.content());
                Global::new(&mut *store, ty.clone(), value)?.into()
            }
            ExternType::Memory(ty) if ty.is_shared() => {
                SharedMemory::new(store.engine(), ty.clone())?.into()
            }
            ExternType::Memory(ty) => Memory::new(&mut *store, ty.clone())?.into(),
            ExternType::Table(ty) => {
                let null = Val::default_for(&ValType::Ref(ty.element().clone()));
                let null = null.and_then(|null| null.as_ref());
                let null = null.ok_or_else(|| palisade::Error::msg("a table without a null"))?;
                Table::new(&mut *store, ty.clone(), null)?.into()
            }
            ExternType::Tag(ty) => Tag::new(&mut *store, ty)?.into(),
        });
    }
    Ok(made)
}

/// What can be seen of a run.
#[derive(Debug, Default)]
pub struct Trace {
    /// For each call: results or trap, and the state after it.
    pub calls: Vec<(Result<Vec<u64>, String>, u64)>,
    /// What the host was asked.
    pub host: Vec<HostCall>,
    /// What was left of the fuel, where it is metered.
    pub fuel: Vec<u64>,
    pub starved: bool,
}

impl Trace {
    pub fn exhausted(&self) -> bool {
        self.ended_by(TrapCode::HeapExhausted)
    }

    /// Whether a call ended with a trap.
    pub fn ended_by(&self, code: TrapCode) -> bool {
        let code = format!("{code:?}");
        self.calls.iter().any(|call| call.0.as_ref().is_err_and(|end| end.starts_with(&code)))
    }

    /// Panics at the first call that is not the same.
    pub fn is_that_of(&self, other: &Self, fuel: bool, what: &str) {
        for (number, (a, b)) in self.calls.iter().zip(&other.calls).enumerate() {
            assert_eq!(a, b, "{what}, in call {number}");
        }
        assert_eq!(self.calls.len(), other.calls.len(), "{what}");
        if fuel {
            assert_eq!(self.fuel, other.fuel, "{what}");
        }
        for (number, (a, b)) in self.host.iter().zip(&other.host).enumerate() {
            let same = a.args == b.args && a.state == b.state && (!fuel || a.fuel == b.fuel);
            assert!(same, "{what}, in host call {number}: {a:?} {b:?}");
        }
        assert_eq!(self.host.len(), other.host.len(), "{what}");
    }
}

/// A hash of all that an instance exports.
pub fn state(store: &mut impl AsContextMut, instance: Instance) -> u64 {
    let mut scope = RootScope::new(store);
    let mut hasher = DefaultHasher::new();
    let exports: Vec<_> = instance.exports(&scope).map(|export| export.into_extern()).collect();
    for export in exports {
        match export {
            Extern::Memory(memory) => memory.data(&scope).hash(&mut hasher),
            Extern::SharedMemory(memory) => {
                let mut bytes = vec![0; memory.data_size()];
                memory.read(0, &mut bytes).expect("all of it");
                bytes.hash(&mut hasher);
            }
            Extern::Global(global) => {
                let value = global.get(&mut scope).expect("a value");
                look(&mut scope, &value, 3, &mut hasher);
            }
            Extern::Table(table) => {
                let size = table.size(&scope);
                size.hash(&mut hasher);
                for at in 0..size {
                    table.get(&mut scope, at).map(|r| r.is_null()).hash(&mut hasher);
                }
            }
            _ => {}
        }
    }
    hasher.finish()
}

/// A value, and what is in it if it is an object.
fn look(store: &mut impl AsContextMut, value: &Val, depth: u32, hasher: &mut DefaultHasher) {
    bits(value).hash(hasher);
    let Val::AnyRef(Some(any)) = value else { return };
    any.as_i31(&*store).expect("a value of this store").hash(hasher);
    if depth == 0 {
        return;
    }
    if let Some(it) = any.as_struct(&*store).expect("a value of this store") {
        for field in 0..it.field_count(&*store).expect("fields") {
            let value = it.field(&mut *store, field).expect("a field");
            look(store, &value, depth - 1, hasher);
        }
    }
    if let Some(it) = any.as_array(&*store).expect("a value of this store") {
        let len = it.len(&*store).expect("a length");
        len.hash(hasher);
        for element in 0..len.min(8) {
            let value = it.get(&mut *store, element).expect("an element");
            look(store, &value, depth - 1, hasher);
        }
    }
}

/// Why a call ended, and where.
pub fn ended(error: &palisade::Error) -> String {
    match error.trap_code() {
        // Where it happened, too.
        Some(code) => {
            let frames = error.backtrace().map(|b| {
                let frame = |f: &palisade::FrameInfo| (f.func_index(), f.module_offset());
                b.frames().iter().map(frame).collect::<Vec<_>>()
            });
            format!("{code:?} {frames:?}")
        }
        None => error.to_string(),
    }
}

pub fn run(engine: &Engine, bytes: &[u8], seed: u64) -> Option<Trace> {
    let module = match Module::new(engine, bytes) {
        Ok(module) => module,
        Err(error) => panic!("seed {seed}: {error}"),
    };
    let metered = engine.config().metered();
    let mut store = Store::new(engine, Ledger::default());
    store.set_resource_limit(Resource::MemoryBytes, Some(32 << 20));
    store.set_resource_limit(Resource::TableElements, Some(10_000));
    let mut rng = Rng::new(seed ^ 0xABCD);
    let imports = imports(&mut store, &module, &mut rng).ok()?;
    let mut trace = Trace::default();
    let fuel = |store: &mut Store<Ledger>| {
        if metered {
            store.set_fuel(FUEL).expect("metered");
        }
    };
    fuel(&mut store);
    let instance = match Instance::new(&mut store, &module, &imports) {
        Ok(instance) => instance,
        // The host cannot make functions of types that have supertypes.
        Err(error) if matches!(error.kind(), palisade::ErrorKind::Link(_)) => return None,
        Err(error) => {
            trace.starved = error.trap_code() == Some(TrapCode::OutOfFuel);
            trace.calls.push((Err(ended(&error)), 0));
            trace.fuel.extend(store.get_fuel().ok());
            trace.host = store.into_data().calls;
            return Some(trace);
        }
    };
    let exports: Vec<_> = instance.exports(&store).map(|export| export.into_extern()).collect();
    for export in exports.iter().chain(&exports) {
        match export {
            Extern::Func(func) => {
                let ty = func.ty(&store).expect("of this store");
                let args: Vec<_> = ty.params().iter().map(|ty| argument(&mut rng, ty)).collect();
                let mut results = vec![Val::I32(0); ty.results().len()];
                fuel(&mut store);
                let outcome = func.call(&mut store, &args, &mut results);
                let outcome = match outcome {
                    Ok(()) => Ok(results.iter().map(bits).collect()),
                    Err(error) => {
                        trace.starved |= error.trap_code() == Some(TrapCode::OutOfFuel);
                        Err(ended(&error))
                    }
                };
                trace.calls.push((outcome, state(&mut store, instance)));
                trace.fuel.extend(store.get_fuel().ok());
            }
            Extern::Global(global) => {
                // The host writes, too.
                if let Ok(ty) = global.ty(&store)
                    && ty.mutability() == Mutability::Var
                {
                    let value = argument(&mut rng, ty.content());
                    let _ = global.set(&mut store, value);
                }
            }
            _ => {}
        }
    }
    trace.host = store.into_data().calls;
    Some(trace)
}
