//! Fuel, deadlines, interruption, ceilings, and what errors and backtraces say.

use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use palisade::{
    Caller, Config, Engine, ErrorKind, Linker, Memory, MemoryType, Module, Ref, RefType, Resource,
    ResourceLimiter, Store, StoreLimits, StoreLimitsBuilder, Table, TableType, TrapCode,
};
use palisade_tests::{DISPATCHERS, ENGINES, Kind, engine, instance, link, metered_engine, module};

const FOR_EVER: &str = r#"(module (func (export "run") (loop br 0))
    (func $deep (export "deep") (result i32) (i32.add (call $deep) (i32.const 1)))
    (func (export "short") (result i32) (i32.const 1)))"#;

#[test]
fn fuel_runs_out_and_is_accounted_for() {
    for kind in ENGINES {
        let (mut store, instance) = instance(&metered_engine(kind), FOR_EVER);
        let short = instance.get_typed_func::<(), i32>(&store, "short").unwrap();
        let error = short.call(&mut store, ()).unwrap_err();
        assert_eq!(error.trap_code(), Some(TrapCode::OutOfFuel), "a new store has no fuel");
        store.set_fuel(1000).unwrap();
        short.call(&mut store, ()).unwrap();
        let used = 1000 - store.get_fuel().unwrap();
        assert!((1..10).contains(&used), "{used}");
        assert_eq!(store.fuel_consumed(), Some(used));
        store.set_fuel(50).unwrap();
        assert_eq!((store.get_fuel().unwrap(), store.fuel_consumed()), (50, Some(used)));
        let run = instance.get_typed_func::<(), ()>(&store, "run").unwrap();
        let error = run.call(&mut store, ()).unwrap_err();
        assert_eq!(error.trap_code(), Some(TrapCode::OutOfFuel));
        assert_eq!((store.get_fuel().unwrap(), store.fuel_consumed()), (0, Some(used + 50)));
        store.set_fuel(u64::MAX).unwrap();
        assert_eq!(store.get_fuel().unwrap(), i64::MAX as u64);
    }
    let mut unmetered = Store::new(&engine(Kind::Loop), ());
    assert!(unmetered.set_fuel(1).is_err() && unmetered.get_fuel().is_err());
    assert_eq!(unmetered.fuel_consumed(), None);
}

#[test]
fn host_functions_charge_fuel() {
    for kind in ENGINES {
        let engine = metered_engine(kind);
        let mut linker = Linker::<bool>::new(&engine);
        linker
            .func_wrap("h", "work", |mut caller: Caller<'_, bool>, units: i64| {
                caller.charge_fuel(units as u64)?;
                *caller.data_mut() = true;
                palisade::Result::Ok(())
            })
            .unwrap();
        let mut store = Store::new(&engine, false);
        store.set_fuel(1000).unwrap();
        let instance = link(
            &linker,
            &mut store,
            r#"(module (import "h" "work" (func $work (param i64)))
                (func (export "run") (param i64) (call $work (local.get 0))))"#,
        );
        let run = instance.get_typed_func::<i64, ()>(&store, "run").unwrap();
        run.call(&mut store, 0).unwrap();
        let call = 1000 - store.get_fuel().unwrap();
        store.set_fuel(1000).unwrap();
        run.call(&mut store, 500).unwrap();
        assert_eq!(store.get_fuel().unwrap(), 500 - call);
        *store.data_mut() = false;
        for units in [1000, i64::MAX, -1] {
            store.set_fuel(1000).unwrap();
            let error = run.call(&mut store, units).unwrap_err();
            assert_eq!(error.trap_code(), Some(TrapCode::OutOfFuel));
            assert_eq!(store.get_fuel().unwrap(), 0);
        }
        assert!(!store.data(), "nothing was done that was not paid for");
    }
}

#[test]
fn deadlines_and_interruptions_end_guests() {
    for kind in ENGINES {
        let (mut store, instance) = instance(&engine(kind), FOR_EVER);
        let run = instance.get_typed_func::<(), ()>(&store, "run").unwrap();
        let short = instance.get_typed_func::<(), i32>(&store, "short").unwrap();
        store.set_timeout(Some(Duration::from_millis(20))).unwrap();
        assert!(store.deadline().is_some_and(|at| at > Instant::now() - Duration::from_secs(60)));
        let error = run.call(&mut store, ()).unwrap_err();
        assert_eq!(error.trap_code(), Some(TrapCode::DeadlineExceeded));
        assert!(short.call(&mut store, ()).is_err(), "it stays");
        store.set_deadline(None).unwrap();
        short.call(&mut store, ()).unwrap();
        store.set_timeout(Some(Duration::MAX)).unwrap();
        short.call(&mut store, ()).unwrap();

        let handle = store.interrupt_handle();
        let other = handle.clone();
        let thread = std::thread::spawn(move || other.interrupt(TrapCode::Interrupted));
        let error = run.call(&mut store, ()).unwrap_err();
        assert_eq!(error.trap_code(), Some(TrapCode::Interrupted));
        thread.join().unwrap();
        assert!(short.call(&mut store, ()).is_err());
        handle.clear();
        short.call(&mut store, ()).unwrap();
    }
}

#[test]
fn fuel_that_a_host_function_takes_too_much_of_is_not_a_fortune() {
    for kind in ENGINES {
        let engine = metered_engine(kind);
        let mut linker = Linker::<()>::new(&engine);
        linker
            .func_wrap("h", "take", |mut caller: Caller<'_, ()>, units: i64| {
                caller.charge_fuel(units as u64)
            })
            .unwrap();
        for units in [1_000, i64::MAX, i64::MIN, -1] {
            let mut store = Store::new(&engine, ());
            let text = r#"(module (import "h" "take" (func $t (param i64)))
                (func (export "run") (param i64) (call $t (local.get 0)))
                (func (export "more") (param i64) (local.set 0 (i64.add (local.get 0) (i64.const 1)))))"#;
            let instance = link(&linker, &mut store, text);
            store.set_fuel(500).unwrap();
            for name in ["run", "more", "run", "more"] {
                let func = instance.get_typed_func::<i64, ()>(&store, name).unwrap();
                let error = func.call(&mut store, units).unwrap_err();
                assert_eq!(error.trap_code(), Some(TrapCode::OutOfFuel), "{kind:?}: {units}");
                assert_eq!(store.get_fuel().unwrap(), 0, "{kind:?}: {units}");
            }
        }
    }
}

#[test]
fn an_interrupted_loop_is_said_to_be_where_it_is() {
    // Some bodies note no place of their own; one stands behind an operator that does.
    for body in [
        "(loop $l (br $l))",
        "(nop) (loop $l (br_if $l (i32.eqz (local.get 0))))",
        "(loop $l (i32.store (i32.const 0) (i32.const 1)) (br_if $l (i32.const 1)))",
        "(i32.store (i32.const 0) (i32.const 1)) (loop $l (br $l))",
    ] {
        let text = format!("(module (memory 1) (func (export \"run\") (local i32) {body}))");
        let bytes = wat::parse_str(&text).unwrap();
        // The operator `loop`, without results.
        let at = bytes.windows(2).position(|two| two == [0x03, 0x40]).unwrap();
        for kind in ENGINES {
            let engine = Engine::new(kind.configure(&mut Config::new())).unwrap();
            let interrupted_after = |delay: Duration| {
                let mut store = Store::new(&engine, ());
                let instance = link(&Linker::new(&engine), &mut store, &text);
                let run = instance.get_typed_func::<(), ()>(&store, "run").unwrap();
                let handle = store.interrupt_handle();
                let other = std::thread::spawn(move || {
                    std::thread::sleep(delay);
                    handle.interrupt(TrapCode::Interrupted);
                });
                let error = run.call(&mut store, ()).unwrap_err();
                other.join().unwrap();
                assert_eq!(error.trap_code(), Some(TrapCode::Interrupted));
                let frames = error.backtrace().map_or(&[][..], |trace| trace.frames());
                frames.first().map_or(0, |frame| frame.module_offset())
            };
            // A request that comes before the loop is reached ends the function where it begins, or
            // before: once more, then.
            let delays = (0..10).map(|doubled| Duration::from_millis(1 << doubled));
            let found = delays.map(interrupted_after).find(|&found| found >= at);
            assert!(found.is_some_and(|found| found < bytes.len()), "{kind:?}: {body}: {found:?}");
        }
    }
}

#[test]
fn host_functions_see_interruptions_and_deadlines() {
    let engine = Engine::default();
    let mut linker = Linker::<()>::new(&engine);
    linker
        .func_wrap("h", "wait", |caller: Caller<'_, ()>| {
            assert!(caller.deadline().is_some());
            assert_eq!(caller.interrupted(), None);
            caller.interrupt_handle().interrupt(TrapCode::DeadlineExceeded);
            assert_eq!(caller.interrupted(), Some(TrapCode::DeadlineExceeded));
            Err::<(), _>(palisade::Error::from(TrapCode::DeadlineExceeded))
        })
        .unwrap();
    let mut store = Store::new(&engine, ());
    store.set_timeout(Some(Duration::from_secs(3600))).unwrap();
    let text = r#"(module (import "h" "wait" (func $w)) (func (export "run") call $w))"#;
    let instance = link(&linker, &mut store, text);
    let run = instance.get_typed_func::<(), ()>(&store, "run").unwrap();
    let error = run.call(&mut store, ()).unwrap_err();
    assert_eq!(error.trap_code(), Some(TrapCode::DeadlineExceeded));
    assert_eq!(error.backtrace().unwrap().frames().len(), 1);
}

#[test]
fn call_depth_and_stack_size_are_limited() {
    for kind in ENGINES {
        let (mut store, instance) = instance(&engine(kind), FOR_EVER);
        let deep = instance.get_typed_func::<(), i32>(&store, "deep").unwrap();
        let error = deep.call(&mut store, ()).unwrap_err();
        assert_eq!(error.trap_code(), Some(TrapCode::StackOverflow));
        store.set_call_depth_limit(Some(100));
        let error = deep.call(&mut store, ()).unwrap_err();
        assert_eq!(error.trap_code(), Some(TrapCode::CallDepthExceeded));
        let frames = error.backtrace().unwrap();
        assert_eq!(frames.frames().len() as u64 + frames.omitted(), 100);
        store.set_call_depth_limit(None);
        let error = deep.call(&mut store, ()).unwrap_err();
        assert_eq!(error.trap_code(), Some(TrapCode::StackOverflow));
        let text = error.to_string();
        assert!(text.len() < 20_000 && text.contains(" more ..."), "{text}");
    }
    let mut config = Config::new();
    config.call_depth(Some(2)).max_wasm_stack(64 << 10);
    let engine = Engine::new(&config).unwrap();
    let (mut store, instance) = instance(&engine, FOR_EVER);
    let deep = instance.get_typed_func::<(), i32>(&store, "deep").unwrap();
    let error = deep.call(&mut store, ()).unwrap_err();
    assert_eq!(error.backtrace().unwrap().frames().len(), 2, "{error}");
}

#[test]
fn the_ledger_sums_over_the_store() {
    for kind in ENGINES {
        let engine = engine(kind);
        let mut store = Store::new(&engine, ());
        store.set_resource_limit(Resource::MemoryBytes, Some(5 * 65536));
        store.set_resource_limit(Resource::TableElements, Some(10));
        store.set_resource_limit(Resource::Instances, Some(3));
        let linker = Linker::new(&engine);
        let text = r#"(module (memory 1) (table $t 4 funcref)
            (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
            (func (export "more") (param i32) (result i32)
                (table.grow $t (ref.null func) (local.get 0))))"#;
        let first = link(&linker, &mut store, text);
        let second = link(&linker, &mut store, text);
        let grow = first.get_typed_func::<i32, i32>(&store, "grow").unwrap();
        assert_eq!(grow.call(&mut store, 2).unwrap(), 1);
        let grow = second.get_typed_func::<i32, i32>(&store, "grow").unwrap();
        assert_eq!(grow.call(&mut store, 2).unwrap(), -1);
        let refusal = store.last_refusal().unwrap();
        assert_eq!((refusal.what, refusal.limit), (Resource::MemoryBytes, 5 * 65536));
        assert_eq!(grow.call(&mut store, 1).unwrap(), 1);
        assert_eq!(store.resource_use(Resource::MemoryBytes), 5 * 65536);
        assert_eq!(store.resource_peak(Resource::MemoryBytes), 5 * 65536);
        let more = second.get_typed_func::<i32, i32>(&store, "more").unwrap();
        assert_eq!(more.call(&mut store, 3).unwrap(), -1);
        assert_eq!(more.call(&mut store, 2).unwrap(), 4);
        // Minimums and the host's own objects count, too.
        let module = module(&engine, text);
        let error = linker.instantiate(&mut store, &module).unwrap_err();
        assert_eq!(error.trap_code(), Some(TrapCode::LimitExceeded));
        assert!(error.to_string().contains("the limit on memory is 327680 bytes"), "{error}");
        let error = Memory::new(&mut store, MemoryType::new(1, None)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Limit(_)), "{error}");
        let ty = TableType::new(RefType::FUNCREF, 1, None);
        assert!(Table::new(&mut store, ty, Ref::Func(None)).is_err());
        link(&linker, &mut store, "(module)");
        let empty = palisade_tests::module(&engine, "(module)");
        let error = linker.instantiate(&mut store, &empty).unwrap_err();
        assert!(error.to_string().contains("instances"), "{error}");
        assert_eq!(store.resource_use(Resource::MemoryBytes), 5 * 65536, "nothing leaked");
    }
}

struct Data {
    limits: StoreLimits,
}

#[test]
fn store_limits_are_asked() {
    for kind in ENGINES {
        let engine = engine(kind);
        let make = |limits: StoreLimitsBuilder| {
            let mut store = Store::new(&engine, Data { limits: limits.build() });
            store.limiter(|data| &mut data.limits);
            store
        };
        let linker = Linker::<Data>::new(&engine);
        let text = r#"(module (memory 1)
            (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"#;
        let mut store = make(StoreLimitsBuilder::new().memory_size(2 * 65536).instances(2));
        let first = link(&linker, &mut store, text);
        let grow = first.get_typed_func::<i32, i32>(&store, "grow").unwrap();
        assert_eq!(grow.call(&mut store, 2).unwrap(), -1);
        assert_eq!(grow.call(&mut store, 1).unwrap(), 1);
        link(&linker, &mut store, text);
        assert!(linker.instantiate(&mut store, &module(&engine, text)).is_err());
        store.data_mut().limits = StoreLimits::default();
        assert_eq!(grow.call(&mut store, 1).unwrap(), 2);

        let limits = StoreLimitsBuilder::new().memory_size(65536).trap_on_grow_failure(true);
        let mut store = make(limits);
        let first = link(&linker, &mut store, text);
        let grow = first.get_typed_func::<i32, i32>(&store, "grow").unwrap();
        let error = grow.call(&mut store, 1).unwrap_err();
        assert!(error.to_string().contains("forcing a trap"), "{error}");

        let mut store = make(StoreLimitsBuilder::new().memory_size(65535));
        assert!(linker.instantiate(&mut store, &module(&engine, text)).is_err());
        let mut store = make(StoreLimitsBuilder::new().memories(0));
        assert!(linker.instantiate(&mut store, &module(&engine, text)).is_err());
    }
}

/// A limiter that panics.
struct Panics;

impl ResourceLimiter for Panics {
    fn memory_growing(
        &mut self,
        current: usize,
        _: usize,
        _: Option<usize>,
    ) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        assert!(current == 0, "the limiter is broken");
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _: usize,
        _: usize,
        _: Option<usize>,
    ) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        Ok(true)
    }
}

#[test]
fn a_limiter_that_panics_ends_the_guest() {
    for kind in ENGINES {
        let engine = engine(kind);
        let mut store = Store::new(&engine, Panics);
        store.limiter(|data| data);
        let text = r#"(module (memory 1)
            (func (export "grow") (result i32) (memory.grow (i32.const 1))))"#;
        let instance = link(&Linker::new(&engine), &mut store, text);
        let grow = instance.get_typed_func::<(), i32>(&store, "grow").unwrap();
        let error = grow.call(&mut store, ()).unwrap_err();
        assert!(error.to_string().contains("the limiter is broken"), "{error}");
        assert!(store.is_poisoned());
    }
}

#[test]
fn backtraces_name_functions_and_escape_their_names() {
    for kind in ENGINES {
        let engine = engine(kind);
        let text = r#"(module $mod
            (func $inner (param i32) (result i32) (i32.div_s (i32.const 1) (local.get 0)))
            (func (;1;) (param i32) (result i32) (i32.add (call $inner (local.get 0)) (i32.const 1)))
            (func (export "e\1b[31m\e2\80\aevil") (param i32) (result i32)
                (i32.add (call 1 (local.get 0)) (i32.const 1))))"#;
        let (mut store, instance) = instance(&engine, text);
        let run = instance.get_typed_func::<i32, i32>(&store, "e\u{1b}[31m\u{202e}vil").unwrap();
        let error = run.call(&mut store, 0).unwrap_err();
        let frames = error.backtrace().unwrap().frames();
        let names: Vec<_> = frames.iter().map(|frame| frame.func_name()).collect();
        assert_eq!(names, [Some("inner"), None, Some("e\u{1b}[31m\u{202e}vil")]);
        let indices: Vec<_> = frames.iter().map(|frame| frame.func_index()).collect();
        assert_eq!(indices, [0, 1, 2]);
        assert!(frames.windows(2).all(|pair| pair[0].module_offset() < pair[1].module_offset()));
        let text = error.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "wasm trap: integer divide by zero");
        assert_eq!(lines[1], "wasm backtrace:");
        assert!(
            lines[2].starts_with("    0:   0x") && lines[2].ends_with(" - mod!inner"),
            "{text}"
        );
        assert!(lines[3].ends_with(" - mod!<wasm function 1>"), "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
        assert_eq!(error.downcast_ref(), Some(&TrapCode::IntegerDivideByZero));
    }
}

#[test]
fn loading_can_be_cancelled_and_limits_are_named() {
    let mut config = Config::new();
    let mut limits = palisade::Limits::strict();
    limits.set(palisade::LimitKind::Functions, 2).unwrap();
    config.limits(limits);
    let engine = Engine::new(&config).unwrap();
    let cancelled = AtomicU32::new(1);
    let error = Module::new_cancellable(&engine, "(module)", &cancelled).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Module(_)), "{error}");
    Module::new_cancellable(&engine, "(module)", &AtomicU32::new(0)).unwrap();
    let error = Module::new(&engine, "(module (func) (func) (func))").unwrap_err();
    let text = error.to_string();
    assert!(text.contains("functions") && text.contains("--limit functions=3"), "{text}");
}

#[test]
fn features_can_be_switched_off() {
    for (off, text) in [
        (
            Config::wasm_multi_memory as fn(&mut Config, bool) -> &mut Config,
            "(memory 1) (memory 1)",
        ),
        (Config::wasm_memory64, "(memory i64 1)"),
        (Config::wasm_tail_call, "(func $f return_call $f)"),
        (Config::wasm_threads, "(memory 1 1 shared)"),
        (Config::wasm_gc, "(rec (type (func)) (type (func)))"),
        (Config::wasm_exceptions, "(tag)"),
        (Config::wasm_multi_value, "(func (result i32 i32) unreachable)"),
        (Config::wasm_extended_const, "(global i32 (i32.add (i32.const 1) (i32.const 2)))"),
        (Config::wasm_custom_page_sizes, "(memory 1 (pagesize 1))"),
        (Config::wasm_simd, "(func (local v128))"),
        (Config::wasm_relaxed_simd, "(func unreachable i8x16.relaxed_swizzle unreachable)"),
    ] {
        let mut config = Config::new();
        Module::new(&Engine::new(&config).unwrap(), text).unwrap();
        off(&mut config, false);
        let error = Module::new(&Engine::new(&config).unwrap(), text).expect_err(text);
        assert!(matches!(error.kind(), ErrorKind::Module(_)), "{error}");
    }
    let features: Vec<_> = Config::new().features().collect();
    assert!(features.contains(&("wasm_tail_call", true)));
}

#[test]
fn switches_that_contradict_each_other_are_refused() {
    let engine = |switches: &[(&str, bool)]| {
        let mut config = Config::new();
        for (name, on) in switches {
            config.wasm_proposal(name, *on).expect(name);
        }
        Engine::new(&config)
    };
    let refused = |switches: &[(&str, bool)], on: &str, off: &str| {
        let error = engine(switches).expect_err("a contradiction").to_string();
        assert!(error.contains(&format!("`{on}` is switched on")), "{error}");
        assert!(error.contains(&format!("`{off}`, which it needs")), "{error}");
    };
    refused(&[("simd", false), ("relaxed-simd", true)], "relaxed-simd", "simd");
    refused(&[("relaxed-simd", true), ("simd", false)], "relaxed-simd", "simd");
    refused(&[("bulk-memory", false), ("reference-types", true)], "reference-types", "bulk-memory");
    refused(
        &[("bulk-memory", false), ("function-references", true)],
        "function-references",
        "reference-types",
    );
    // The last word counts, and what was not asked for by name goes silently.
    engine(&[("simd", false), ("relaxed-simd", true), ("simd", true)]).expect("both are on");
    engine(&[("bulk-memory", false)]).expect("what builds on it was not asked for");
    let mut config = Config::new();
    config.wasm_bulk_memory(false);
    for (name, on) in config.features() {
        let gone = ["bulk_memory", "reference_types", "function_references", "gc", "exceptions"];
        if gone.iter().any(|gone| name == format!("wasm_{gone}")) {
            assert!(!on, "{name}");
        }
    }
    let error = config.wasm_proposal("gc\n", true).map(|_| ()).expect_err("no such name");
    assert!(error.to_string().contains("`gc\\n`; there are mutable-global, "), "{error}");
    config.wasm_proposal("bulk-memory", true).expect("there is one of this name");
    assert!(config.features().any(|feature| feature == ("wasm_bulk_memory", true)));
}

#[test]
fn translated_code_is_charged_to_the_store() {
    let functions: String = (0..100)
        .map(|i| format!("(func (export \"{i}\") (param i32) (result i32) {ADDS})"))
        .collect();
    for kind in DISPATCHERS {
        let engine = engine(kind);
        let module = module(&engine, &format!("(module {functions})"));
        let mut uses = Vec::new();
        // The second store pays for what the first had translated, as does the second instance.
        for _ in 0..2 {
            let linker = Linker::new(&engine);
            let mut store = Store::new(&engine, ());
            for _ in 0..2 {
                let instance = linker.instantiate(&mut store, &module).unwrap();
                let before = store.resource_use(Resource::HostBytes);
                for _ in 0..2 {
                    let one = instance.get_typed_func::<i32, i32>(&store, "0").unwrap();
                    assert_eq!(one.call(&mut store, 1).unwrap(), 9);
                    uses.push(store.resource_use(Resource::HostBytes) - before);
                }
            }
        }
        assert!(uses[0] > 16 && uses.iter().all(|&bytes| bytes == uses[0]), "{uses:?}");

        let mut store = Store::new(&engine, ());
        let instance = Linker::new(&engine).instantiate(&mut store, &module).unwrap();
        let limit = store.resource_use(Resource::HostBytes) + 10 * uses[0] + 1;
        store.set_resource_limit(Resource::HostBytes, Some(limit));
        let call = |store: &mut Store<()>, i: u32| {
            let func = instance.get_typed_func::<i32, i32>(&*store, &i.to_string()).unwrap();
            func.call(store, 1)
        };
        for i in 0..10 {
            assert_eq!(call(&mut store, i).unwrap(), 9, "{i}");
        }
        for i in 10..100 {
            let error = call(&mut store, i).unwrap_err();
            assert_eq!(error.trap_code(), Some(TrapCode::LimitExceeded), "{error}");
        }
        let refusal = store.last_refusal().unwrap();
        let expected = (Resource::HostBytes, uses[0], limit - 1, limit);
        assert_eq!((refusal.what, refusal.asked, refusal.in_use, refusal.limit), expected);
        assert_eq!(module.translated().0, 10, "what was refused is not kept");
        assert_eq!(call(&mut store, 9).unwrap(), 9, "what is there goes on");
        store.set_resource_limit(Resource::HostBytes, None);
        assert_eq!(call(&mut store, 99).unwrap(), 9);
    }
}

/// Adds its parameter to itself and to numbers in ways that give several instructions.
const ADDS: &str =
    "(i32.add (i32.mul (local.get 0) (local.get 0)) (i32.shl (local.get 0) (i32.const 3)))";
