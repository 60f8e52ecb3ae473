//! Row X10: modules that are expensive to translate or to compile. In each engine they run, or end with a message
//! that names the limit, and the memory of the process stays bounded by what the limits give. A process of its own, so
//! that nobody else's memory is measured.

use palisade::{
    Config, Engine, ErrorKind, Linker, Module, Resource, ResourceLimits, Store, TrapCode,
};
use palisade_tests::Kind;
use wasm_encoder::{
    BlockType, CodeSection, CustomSection, ExportKind, ExportSection, Function, FunctionSection,
    HeapType, Instruction, RefType, TypeSection, ValType,
};

/// What Palisade may keep for the guests here.
const HOST_MEMORY: u64 = 96 << 20;

/// Beside it: the module's own bytes and what loading keeps of them, the process, caches of the allocator.
const BESIDE: u64 = 512 << 20;

/// What the process took at most so far, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// A module of functions without parameters and results; the last is exported as `f`.
fn functions(bodies: impl IntoIterator<Item = Function>) -> Vec<u8> {
    let (mut types, mut funcs, mut code) =
        (TypeSection::new(), FunctionSection::new(), CodeSection::new());
    types.ty().function([], []);
    let mut count = 0;
    for body in bodies {
        funcs.function(0);
        code.function(&body);
        count += 1;
    }
    let mut exports = ExportSection::new();
    exports.export("f", ExportKind::Func, count - 1);
    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&funcs).section(&exports).section(&code);
    module.finish()
}

fn function(locals: Vec<(u32, ValType)>, body: impl FnOnce(&mut Function)) -> Function {
    let mut function = Function::new(locals);
    body(&mut function);
    function.instruction(&Instruction::End);
    function
}

fn wide_tables() -> Vec<u8> {
    functions([function(vec![], |f| {
        for _ in 0..40 {
            f.instruction(&Instruction::Block(BlockType::Empty));
            f.instruction(&Instruction::I32Const(1));
            f.instruction(&Instruction::BrTable(vec![0; 65_519].into(), 0));
            f.instruction(&Instruction::End);
        }
    })])
}

fn deep(levels: u32) -> Vec<u8> {
    functions([function(vec![], |f| {
        for _ in 0..levels {
            f.instruction(&Instruction::Block(BlockType::Empty));
        }
        for _ in 0..levels {
            f.instruction(&Instruction::End);
        }
    })])
}

fn huge() -> Vec<u8> {
    functions([function(vec![(1, ValType::I32)], |f| {
        // Just below the largest body that there may be.
        for at in 0..900_000 {
            f.instruction(&Instruction::LocalGet(0));
            f.instruction(&Instruction::I32Const(at & 63));
            f.instruction(&Instruction::I32Add);
            f.instruction(&Instruction::LocalSet(0));
        }
    })])
}

fn very_many() -> Vec<u8> {
    functions((0..100_000).map(|_| function(vec![], |_| {})))
}

fn names(bytes: usize) -> Vec<u8> {
    let mut module = functions([function(vec![], |_| {})]);
    let section = CustomSection { name: "name".into(), data: vec![0x55; bytes].into() };
    wasm_encoder::Section::append_to(&section, &mut module);
    module
}

/// Thousands of references that live across thousands of calls: a table for the collector with millions of entries.
fn roots() -> Vec<u8> {
    let any = ValType::Ref(RefType {
        nullable: true,
        heap_type: HeapType::Abstract { shared: false, ty: wasm_encoder::AbstractHeapType::Any },
    });
    let callee = function(vec![], |_| {});
    let holder = function(vec![(3_000, any)], |f| {
        for local in 0..3_000 {
            f.instruction(&Instruction::I32Const(local));
            f.instruction(&Instruction::RefI31);
            f.instruction(&Instruction::LocalSet(local as u32));
        }
        for _ in 0..5_000 {
            f.instruction(&Instruction::Call(0));
        }
        for local in 0..3_000 {
            f.instruction(&Instruction::LocalGet(local));
            f.instruction(&Instruction::Drop);
        }
    });
    functions([callee, holder])
}

/// Whether a module ran, or what stopped it.
fn run(engine: &Engine, limits: &ResourceLimits, bytes: &[u8]) -> Result<(), palisade::Error> {
    let module = Module::new(engine, bytes)?;
    let mut store = Store::new(engine, ());
    store.set_limits(limits)?;
    let instance = Linker::new(engine).instantiate(&mut store, &module)?;
    let f = instance.get_typed_func::<(), ()>(&mut store, "f")?;
    // Often enough to be compiled, where what runs often is.
    for _ in 0..3 {
        f.call(&mut store, ())?;
    }
    assert!(store.resource_peak(Resource::HostBytes) <= 2 * HOST_MEMORY);
    Ok(())
}

#[test]
fn x10_compile_bombs_run_or_end_with_a_message_and_memory_stays_bounded() {
    // The time limit of a run without end is not what is looked at.
    let limits = ResourceLimits::sandbox()
        .unlimited(Resource::Time)
        .unlimited(Resource::CallDepth)
        .host_memory(HOST_MEMORY);
    let bombs = [
        ("wide branch tables", wide_tables()),
        ("deep nesting", deep(100_000)),
        ("as deep as it may be", deep(490)),
        ("a huge function", huge()),
        ("very many functions", very_many()),
        ("a large name section", names(60 << 20)),
        ("a name section that is too large", names(100 << 20)),
        ("references across calls", roots()),
    ];
    let before = peak();
    for kind in [Kind::Loop, Kind::TailCall, Kind::Compiled, Kind::Tiering] {
        let mut config = Config::new();
        kind.configure(config.limits(palisade::Limits::strict()).paranoid(false));
        let engine = Engine::new(config.limit_resources(&limits)).expect("an engine");
        for (name, bytes) in &bombs {
            match run(&engine, &limits, bytes) {
                Ok(()) => println!("{kind:?}: {name}: ran"),
                Err(error) => {
                    let text = error.to_string();
                    println!("{kind:?}: {name}: {}", text.lines().next().unwrap_or(""));
                    let known = matches!(error.kind(), ErrorKind::Module(_) | ErrorKind::Limit(_))
                        || error.trap_code() == Some(TrapCode::LimitExceeded);
                    assert!(known && text.contains("limit"), "{kind:?}: {name}: {text}");
                }
            }
            let grown = peak().saturating_sub(before);
            assert!(grown <= HOST_MEMORY + BESIDE, "{kind:?}: {name}: {} MiB", grown >> 20);
        }
        println!("{kind:?}: {:?}, {} MiB", engine.compile_stats(), (peak() - before) >> 20);
        assert_eq!(engine.compile_stats().failed, 0);
    }
}

#[test]
fn x10_tables_for_the_collector_do_not_grow_with_a_product() {
    let engine = Engine::new(
        Config::new().strategy(palisade::Strategy::Compiled).consume_fuel(true).paranoid(false),
    )
    .expect("an engine");
    let limits = ResourceLimits::sandbox().unlimited(Resource::Time);
    run(&engine, &limits, &roots()).expect("it runs, interpreted");
    let stats = engine.compile_stats();
    assert_eq!((stats.refused, stats.failed), (1, 0), "{stats:?}");
}

/// Whether a thread of the compiler's runs.
fn compiling() -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").expect("proc");
    let mut names =
        tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.any(|name| name.starts_with("palisade-compil"))
}

#[test]
fn x10_what_cancels_loading_ends_compiling_as_well() {
    use std::sync::atomic::{AtomicU32, Ordering};
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        println!("not run: with one processor, nobody can see when compiling begins");
        return;
    }
    let engine = Engine::new(Config::new().strategy(palisade::Strategy::Compiled)).expect("one");
    let cancel = AtomicU32::new(0);
    let bytes = very_many();
    let ended = std::thread::scope(|scope| {
        let loading = scope.spawn(|| Module::new_cancellable(&engine, &bytes, &cancel));
        while !compiling() && !loading.is_finished() {
            std::thread::yield_now();
        }
        cancel.store(TrapCode::DeadlineExceeded as u32, Ordering::Relaxed);
        loading.join().expect("no panic")
    });
    let error = ended.expect_err("it was stopped");
    assert!(matches!(error.kind(), ErrorKind::Module(_)), "{error}");
}
