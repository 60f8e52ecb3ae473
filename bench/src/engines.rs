//! Palisade and wasmtime behind one face: a program in an engine of a certain configuration, ready to be run as often
//! as one likes. What the engines are told is here and nowhere else, so that a comparison can be judged by reading one
//! page.
//!
//! wasmtime has its defaults (Cranelift, optimising for speed, memories with guards) and, where a module needs them,
//! exceptions, objects and shared memories. Its epochs and its fuel are off unless a variant says otherwise. Palisade
//! has its defaults, of which one costs time: a guest can always be interrupted.

use std::path::Path;

use crate::shim::{self, Shim};

/// What is run: `run(argument)` of a module without imports but the functions of `host`, or a WASI command.
#[derive(Clone)]
pub struct Program {
    pub name: String,
    pub wasm: Vec<u8>,
    pub arg: i32,
    /// What it gives, where that is known beforehand.
    pub result: Option<i64>,
    /// If it is a command.
    pub command: Option<shim::Command>,
}

/// How Palisade is configured.
#[derive(Copy, Clone)]
pub struct Own {
    pub strategy: palisade::Strategy,
    pub polls: bool,
    pub fuel: bool,
    pub masking: bool,
}

impl Own {
    /// Machine code, everything else as it is without being asked.
    pub const COMPILED: Self = Self::with(palisade::Strategy::Compiled);

    pub const fn with(strategy: palisade::Strategy) -> Self {
        Self { strategy, polls: true, fuel: false, masking: true }
    }
}

/// How wasmtime is configured.
#[derive(Copy, Clone, Default)]
pub struct Other {
    pub epochs: bool,
    pub fuel: bool,
}

/// Runs the program once.
pub type Run = Box<dyn FnMut() -> i64>;

/// More fuel than anything here needs.
const FUEL: u64 = 1 << 60;
/// Memory for objects.
const MEMORY: u64 = 2 << 30;

/// What a host function for benchmarks does.
fn host(a: i64, b: i64) -> i64 {
    a.wrapping_mul(3) ^ b
}

fn palisade_engine(how: Own) -> palisade::Engine {
    let mut config = palisade::Config::new();
    config.strategy(how.strategy).consume_fuel(how.fuel).index_masking(how.masking);
    if !how.polls {
        config.without_polls_for_benchmarks();
    }
    palisade::Engine::new(&config).expect("an engine")
}

fn palisade_store(engine: &palisade::Engine, how: Own, shim: Shim) -> palisade::Store<Shim> {
    let mut store = palisade::Store::new(engine, shim);
    store.set_resource_limit(palisade::Resource::MemoryBytes, Some(MEMORY));
    if how.fuel {
        store.set_fuel(FUEL).expect("fuel");
    }
    store
}

fn palisade_linker(engine: &palisade::Engine, module: &palisade::Module) -> palisade::Linker<Shim> {
    use palisade::{Error, Val};
    let mut linker: palisade::Linker<Shim> = palisade::Linker::new(engine);
    // Some modules import a function twice.
    linker.allow_shadowing(true);
    linker.func_wrap("host", "typed", host).unwrap();
    for import in module.imports() {
        let palisade::ExternType::Func(ty) = import.ty().clone() else { continue };
        let name = import.name().to_owned();
        match (import.module(), import.name()) {
            ("host", "dynamic") => linker.func_new("host", "dynamic", ty, |_, args, results| {
                let (a, b) = (args[0].try_i64()?, args[1].try_i64()?);
                results[0] = Val::I64(host(a, b));
                Ok(())
            }),
            (shim::MODULE, _) => linker.func_new(
                shim::MODULE,
                import.name(),
                ty,
                move |mut caller, args, results| {
                    let args: Vec<u64> = args
                        .iter()
                        .map(|arg| match *arg {
                            Val::I32(value) => u64::from(value as u32),
                            Val::I64(value) => value as u64,
                            _ => 0,
                        })
                        .collect();
                    let memory = caller.get_memory("memory").ok_or(Error::msg("no memory"))?;
                    let (bytes, shim) = memory.data_and_store_mut(&mut caller);
                    let errno = shim.call(&name, &args, bytes).ok_or(Error::msg("exit"))?;
                    if let Some(result) = results.first_mut() {
                        *result = Val::I32(errno);
                    }
                    Ok(())
                },
            ),
            _ => continue,
        }
        .unwrap();
    }
    linker
}

/// A program in Palisade; its module is compiled already, as far as that is done beforehand.
pub fn palisade(program: &Program, how: Own) -> Run {
    let engine = palisade_engine(how);
    let module = palisade::Module::new(&engine, &program.wasm).expect("a module");
    in_palisade(program, how, engine, module)
}

/// The same; the module comes from a file.
pub fn palisade_file(file: &Path, program: &Program, how: Own) -> Run {
    let engine = palisade_engine(how);
    let module = palisade::Module::from_file(&engine, file).expect("a module");
    in_palisade(program, how, engine, module)
}

fn in_palisade(
    program: &Program,
    how: Own,
    engine: palisade::Engine,
    module: palisade::Module,
) -> Run {
    let linker = palisade_linker(&engine, &module);
    let Some(command) = program.command.clone() else {
        let mut store = palisade_store(&engine, how, Shim::default());
        let instance = linker.instantiate(&mut store, &module).expect("an instance");
        let run = instance.get_typed_func::<i32, i64>(&mut store, "run").unwrap();
        let arg = program.arg;
        return Box::new(move || run.call(&mut store, arg).unwrap());
    };
    Box::new(move || {
        let mut store = palisade_store(&engine, how, Shim::new(&command));
        let instance = linker.instantiate(&mut store, &module).expect("an instance");
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start").unwrap();
        let ended = start.call(&mut store, ());
        let trap = ended.err().map(|error| format!("{error:?}"));
        store.into_data().end(trap)
    })
}

fn wasmtime_config(how: Other) -> wasmtime::Config {
    let mut config = wasmtime::Config::new();
    config.wasm_gc(true).wasm_exceptions(true).wasm_threads(true).shared_memory(true);
    config.epoch_interruption(how.epochs).consume_fuel(how.fuel);
    config
}

fn wasmtime_store(engine: &wasmtime::Engine, how: Other, shim: Shim) -> wasmtime::Store<Shim> {
    let mut store = wasmtime::Store::new(engine, shim);
    if how.fuel {
        store.set_fuel(FUEL).expect("fuel");
    }
    if how.epochs {
        store.set_epoch_deadline(1 << 40);
    }
    store
}

fn wasmtime_linker(engine: &wasmtime::Engine, module: &wasmtime::Module) -> wasmtime::Linker<Shim> {
    use wasmtime::{Error, Val};
    let mut linker: wasmtime::Linker<Shim> = wasmtime::Linker::new(engine);
    // Some modules import a function twice.
    linker.allow_shadowing(true);
    linker.func_wrap("host", "typed", host).unwrap();
    for import in module.imports() {
        let wasmtime::ExternType::Func(ty) = import.ty() else { continue };
        let name = import.name().to_owned();
        match (import.module(), import.name()) {
            ("host", "dynamic") => linker.func_new("host", "dynamic", ty, |_, args, results| {
                results[0] = Val::I64(host(args[0].unwrap_i64(), args[1].unwrap_i64()));
                Ok(())
            }),
            (shim::MODULE, _) => linker.func_new(
                shim::MODULE,
                import.name(),
                ty,
                move |mut caller, args, results| {
                    let args: Vec<u64> = args
                        .iter()
                        .map(|arg| match *arg {
                            Val::I32(value) => u64::from(value as u32),
                            Val::I64(value) => value as u64,
                            _ => 0,
                        })
                        .collect();
                    let memory = caller.get_export("memory").and_then(|e| e.into_memory());
                    let memory = memory.ok_or(Error::msg("no memory"))?;
                    let (bytes, shim) = memory.data_and_store_mut(&mut caller);
                    let errno = shim.call(&name, &args, bytes).ok_or(Error::msg("exit"))?;
                    if let Some(result) = results.first_mut() {
                        *result = Val::I32(errno);
                    }
                    Ok(())
                },
            ),
            _ => continue,
        }
        .unwrap();
    }
    linker
}

/// A program in wasmtime, compiled.
pub fn wasmtime(program: &Program, how: Other) -> Run {
    let engine = wasmtime::Engine::new(&wasmtime_config(how)).expect("an engine");
    let module = wasmtime::Module::new(&engine, &program.wasm).expect("a module");
    in_wasmtime(program, how, engine, module)
}

/// The same; the module comes from a file.
pub fn wasmtime_file(file: &Path, program: &Program, how: Other) -> Run {
    let engine = wasmtime::Engine::new(&wasmtime_config(how)).expect("an engine");
    let module = wasmtime::Module::from_file(&engine, file).expect("a module");
    in_wasmtime(program, how, engine, module)
}

fn in_wasmtime(
    program: &Program,
    how: Other,
    engine: wasmtime::Engine,
    module: wasmtime::Module,
) -> Run {
    let linker = wasmtime_linker(&engine, &module);
    let Some(command) = program.command.clone() else {
        let mut store = wasmtime_store(&engine, how, Shim::default());
        let instance = linker.instantiate(&mut store, &module).expect("an instance");
        let run = instance.get_typed_func::<i32, i64>(&mut store, "run").unwrap();
        let arg = program.arg;
        return Box::new(move || run.call(&mut store, arg).unwrap());
    };
    Box::new(move || {
        let mut store = wasmtime_store(&engine, how, Shim::new(&command));
        let instance = linker.instantiate(&mut store, &module).expect("an instance");
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start").unwrap();
        let ended = start.call(&mut store, ());
        let trap = ended.err().map(|error| format!("{error:?}"));
        store.into_data().end(trap)
    })
}

/// Seconds to make a module of bytes, on the threads that the caller may run on.
pub fn palisade_compile(wasm: &[u8]) -> f64 {
    let engine = palisade_engine(Own::COMPILED);
    let mut module = None;
    let seconds = crate::measure::time(|| module = palisade::Module::new(&engine, wasm).ok());
    let stats = engine.compile_stats();
    assert!(module.is_some() && stats.compiled > 0, "{stats:?}");
    seconds
}

/// Seconds to make a module of bytes, on one thread or on as many as there are.
pub fn wasmtime_compile(wasm: &[u8], parallel: bool) -> f64 {
    let mut config = wasmtime_config(Other::default());
    config.parallel_compilation(parallel);
    let engine = wasmtime::Engine::new(&config).expect("an engine");
    let mut module = None;
    let seconds = crate::measure::time(|| module = wasmtime::Module::new(&engine, wasm).ok());
    assert!(module.is_some());
    seconds
}

fn bench_key() -> palisade::Key {
    palisade::Key::from_bytes([7; 32])
}

/// All of a module as machine code: an artefact with the module, and what a cache keeps.
pub fn palisade_artefacts(wasm: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let engine = palisade_engine(Own::COMPILED);
    let module = palisade::Module::new(&engine, wasm).expect("a module");
    let seal = palisade::Seal::Key(bench_key());
    let whole = module.serialize(&seal).expect("an artefact");
    (whole, module.serialize_code(&seal).expect("an artefact"))
}

/// The same in wasmtime.
pub fn wasmtime_artefact(wasm: &[u8]) -> Vec<u8> {
    let engine = wasmtime::Engine::new(&wasmtime_config(Other::default())).expect("an engine");
    engine.precompile_module(wasm).expect("an artefact")
}

fn palisade_command(
    engine: &palisade::Engine,
    module: &palisade::Module,
    command: &shim::Command,
) -> i64 {
    let linker = palisade_linker(engine, module);
    let mut store = palisade_store(engine, Own::COMPILED, Shim::new(command));
    let instance = linker.instantiate(&mut store, module).expect("an instance");
    let start = instance.get_typed_func::<(), ()>(&mut store, "_start").unwrap();
    let trap = start.call(&mut store, ()).err().map(|error| format!("{error:?}"));
    store.into_data().end(trap)
}

/// A command from an artefact, in an engine of its own.
pub fn palisade_stored(program: &Program, file: std::path::PathBuf) -> Run {
    let command = program.command.clone().expect("a command");
    Box::new(move || {
        let engine = palisade_engine(Own::with(palisade::Strategy::Auto));
        let trust = palisade::Trust::new().key(bench_key());
        let module = palisade::Module::deserialize_file(&engine, &file, &trust);
        palisade_command(&engine, &module.expect("an artefact"), &command)
    })
}

/// A command from a module and an entry of a cache, which is found by a hash of the module.
pub fn palisade_cached(
    program: &Program,
    wasm: std::path::PathBuf,
    file: std::path::PathBuf,
) -> Run {
    let command = program.command.clone().expect("a command");
    Box::new(move || {
        let engine = palisade_engine(Own::with(palisade::Strategy::Auto));
        let trust = palisade::Trust::new().key(bench_key());
        let wasm = palisade::HashedModule::new(std::fs::read(&wasm).expect("a module"));
        palisade::Module::cache_key(&engine, &wasm).expect("a name");
        let file = std::fs::File::open(&file).expect("an entry");
        let cancel = std::sync::atomic::AtomicU32::new(0);
        let module = palisade::Module::with_code_file(&engine, wasm, file, &trust, &cancel);
        palisade_command(&engine, &module.expect("an entry"), &command)
    })
}

/// A command from what wasmtime compiled, in an engine of its own.
pub fn wasmtime_stored(program: &Program, file: std::path::PathBuf) -> Run {
    let command = program.command.clone().expect("a command");
    Box::new(move || {
        let engine = wasmtime::Engine::new(&wasmtime_config(Other::default())).expect("an engine");
        // SAFETY: the file was written by this process, by the same wasmtime.
        let module = unsafe { wasmtime::Module::deserialize_file(&engine, &file) };
        let module = module.expect("an artefact");
        let linker = wasmtime_linker(&engine, &module);
        let mut store = wasmtime_store(&engine, Other::default(), Shim::new(&command));
        let instance = linker.instantiate(&mut store, &module).expect("an instance");
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start").unwrap();
        let trap = start.call(&mut store, ()).err().map(|error| format!("{error:?}"));
        store.into_data().end(trap)
    })
}
