//! What only machine code can get wrong: large functions and frames, several engines on one stack, versions of code,
//! code that is dropped and made while others run.

mod hostile_support;

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hostile_support::{call, engine_with, invoke, on_small_stack, store};
use palisade::{
    Caller, Engine, Func, Instance, Linker, Module, Store, Strategy, TrapCode, Tuning, Val,
};
use palisade_tests::{COMPILING, ENGINES, Kind, link, module};

fn instantiate(engine: &Engine, text: &str) -> (Store<()>, Instance) {
    let mut store = store(engine);
    let instance = link(&Linker::new(engine), &mut store, text);
    (store, instance)
}

/// Without the compiler checking itself, which takes it long where functions are large.
fn quick(kind: Kind) -> Engine {
    engine_with(kind, |config| {
        config.paranoid(false);
    })
}

// ---- large code ----

/// A chain of blocks, each of which is left by a table of branches whose targets lie all over the function.
fn many_blocks(count: usize) -> String {
    let mut text = String::from(
        "(module (memory 1) (func (export \"f\") (param i32) (result i64) (local i64) ",
    );
    text.push_str(&"(block ".repeat(count));
    let targets: String = (0..count).fold(String::new(), |mut out, i| {
        let _ = write!(out, "{i} ");
        out
    });
    let _ = write!(text, "(br_table {targets} {} (local.get 0))", count - 1);
    for i in 0..count {
        // From the i-th target on, everything that follows is run.
        let _ = write!(
            text,
            ") (local.set 1 (i64.rotl (i64.xor (local.get 1) (i64.const {})) (i64.const 7)))",
            (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) as i64
        );
    }
    text.push_str("(local.get 1)))");
    text
}

fn rotated(count: usize, from: usize) -> u64 {
    (from..count)
        .fold(0u64, |sum, i| (sum ^ (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)).rotate_left(7))
}

#[test]
fn c6_ten_thousand_blocks_and_as_many_targets_of_one_branch() {
    let count = 10_000;
    let text = many_blocks(count);
    for kind in [Kind::TailCall, Kind::Compiled] {
        let engine = quick(kind);
        let (mut store, instance) = instantiate(&engine, &text);
        for from in [0, 1, 63, 64, count / 2, count - 2, count - 1, count, usize::MAX >> 33] {
            let outcome = invoke(&mut store, instance, "f", &[Val::I32(from as i32)]);
            assert_eq!(outcome, Ok(vec![rotated(count, from.min(count - 1))]), "{kind:?} {from}");
        }
        let stats = engine.compile_stats();
        assert_eq!((stats.refused, stats.failed), (0, 0), "{kind:?}");
        assert_eq!(stats.compiled > 0, !kind.interprets());
    }
}

/// The widest table that the strict limits allow.
#[test]
fn c6_a_branch_of_65520_targets_takes_the_right_one() {
    let (wide, blocks) = (65_520, 100);
    let mut targets = String::new();
    for i in 0..wide {
        let _ = write!(targets, "{} ", (i * 7) % blocks);
    }
    let mut text = String::from("(module (func (export \"f\") (param i32) (result i32) ");
    text.push_str(&"(block ".repeat(blocks));
    let _ = write!(text, "(br_table {targets} {} (local.get 0))", blocks - 1);
    for i in 0..blocks {
        let _ = write!(text, ") (return (i32.const {i}))");
    }
    // Nothing follows the last return.
    text.push_str("))");
    for kind in [Kind::TailCall, Kind::Compiled] {
        let (mut store, instance) = instantiate(&quick(kind), &text);
        for at in [0, 1, 99, 100, 32_767, 32_768, wide - 1, wide, wide + 1, usize::MAX] {
            let expected = if at < wide { (at * 7) % blocks } else { blocks - 1 };
            let outcome = invoke(&mut store, instance, "f", &[Val::I32(at as i32)]);
            assert_eq!(outcome, Ok(vec![expected as u64]), "{kind:?} {at}");
        }
    }
}

/// More than a mebibyte of code in one function, with branches across all of it.
#[test]
fn c6_branches_reach_across_a_mebibyte_of_code() {
    let mut body = String::new();
    for i in 0..12_000 {
        // Conversions are long code for few bytes of a module.
        let _ = write!(
            body,
            "(i64.store offset={} (local.get 0) (local.tee 2 (i64.add \
             (i64.trunc_sat_f64_u (f64.convert_i64_u (local.get 2))) \
             (i64.load offset={} (local.get 0)))))",
            i % 4_000 * 8,
            (i + 17) % 4_000 * 8
        );
    }
    let text = format!(
        "(module (memory 1) (func (export \"f\") (param i32 i32) (result i64) (local i64)
           (block $out (loop $again
             (br_if $out (i32.eqz (local.get 1)))
             (local.set 1 (i32.sub (local.get 1) (i32.const 1)))
             {body}
             (br_if $again (i64.ne (local.get 2) (i64.const 0)))
             unreachable))
           (i64.add (local.get 2) (i64.const 1))))"
    );
    let mut results = Vec::new();
    for kind in [Kind::TailCall, Kind::Compiled] {
        let engine = quick(kind);
        let (mut store, instance) = instantiate(&engine, &text);
        let mut run = |turns| {
            let setup = [Val::I32(8), Val::I32(turns)];
            invoke(&mut store, instance, "f", &setup)
        };
        assert_eq!(run(0), Ok(vec![1]));
        // All memory is zero: the sum stays so, and the end of the loop is reached.
        assert_eq!(run(1), Err(TrapCode::Unreachable));
        if !kind.interprets() {
            let stats = engine.compile_stats();
            assert_eq!((stats.compiled, stats.refused, stats.failed), (1, 0, 0));
            assert!(stats.code_bytes > 1 << 20, "only {} bytes", stats.code_bytes);
        }
        results.push(invoke(&mut store, instance, "f", &[Val::I32(i32::MAX), Val::I32(1)]));
    }
    assert_eq!(results[0], Err(TrapCode::MemoryOutOfBounds));
    assert_eq!(results[0], results[1]);
}

/// What the compiler refuses is interpreted, and is called by machine code, and calls it, in every way.
#[test]
fn c6_what_is_refused_runs_all_the_same() {
    let nops = "nop ".repeat(1 << 20);
    let text = format!(
        "(module (type $t (func (param i32) (result i32)))
           (table funcref (elem $huge $small))
           (func $huge (export \"huge\") (type $t) {nops}
             (if (result i32) (local.get 0)
               (then (call $small (i32.sub (local.get 0) (i32.const 1)))) (else (i32.const 7))))
           (func $small (export \"small\") (type $t)
             (i32.add (i32.const 1) (call $huge (local.get 0))))
           (func (export \"indirect\") (type $t)
             (call_indirect (type $t) (local.get 0) (i32.const 0)))
           (func (export \"tail\") (type $t) (return_call $huge (local.get 0)))
           (func (export \"ref\") (type $t) (call_ref $t (local.get 0) (ref.func $huge)))
           (elem declare func $huge))"
    );
    for kind in ENGINES {
        let engine = quick(kind);
        let (mut store, instance) = instantiate(&engine, &text);
        for round in 0..3 {
            for (name, more) in
                [("huge", 0), ("small", 1), ("indirect", 0), ("tail", 0), ("ref", 0)]
            {
                let outcome = invoke(&mut store, instance, name, &[Val::I32(20)]);
                assert_eq!(outcome, Ok(vec![27 + more]), "{kind:?} {name} {round}");
            }
        }
        let stats = engine.compile_stats();
        let tried = !kind.interprets();
        assert_eq!((stats.refused > 0, stats.failed), (tried, 0), "{kind:?}");
    }
}

// ---- stacks ----

/// A function whose frame holds so many vectors, on the operand stack and in locals, while it calls itself.
fn wide_frame(operands: usize, locals: usize) -> String {
    // Each from a place of its own, or one would do for several.
    let load = |i: usize| format!("(v128.load offset={} (i32.const 0)) ", i * 16);
    let sets: String = (1..=locals).map(|i| format!("{} local.set {i} ", load(i))).collect();
    let loads: String = (locals + 1..=locals + operands).map(load).collect();
    let gets: String = (1..=locals).map(|i| format!("local.get {i} v128.xor ")).collect();
    format!(
        "(module (memory 17) (global $depth (export \"depth\") (mut i32) (i32.const 0))
           (func $f (export \"f\") (param i32) (result i64) (local{})
             (global.set $depth (i32.add (global.get $depth) (i32.const 1)))
             {sets} {loads}
             (if (result i64) (local.get 0)
               (then (call $f (i32.sub (local.get 0) (i32.const 1)))) (else (i64.const 3)))
             (local.set 0 (i32.wrap_i64))
             {} {gets}
             (i64x2.extract_lane 0) (i64.add (i64.extend_i32_u (local.get 0))))
           (func (export \"fine\") (result i32) (i32.const 5)))",
        " v128".repeat(locals),
        "v128.xor ".repeat(operands - 1)
    )
}

/// Frames larger than the guard are touched from their start: recursion ends at the guard, and not behind it. The
/// largest that the compiler makes are a quarter of a mebibyte; what has larger ones is interpreted.
#[test]
fn s1_frames_of_up_to_a_mebibyte_end_in_a_clean_trap() {
    for (operands, locals, stack, refused) in [
        (4_096, 0, 1 << 20, 0),
        (4_096, 0, 64 << 10, 0),
        (4_900, 9_900, 4 << 20, 0),
        (4_900, 9_900, 64 << 10, 0),
        (65_536, 0, 4 << 20, 1),
    ] {
        let text = wide_frame(operands, locals);
        let engine = engine_with(Kind::Compiled, |config| {
            config.max_wasm_stack(stack).paranoid(false);
        });
        let (mut store, instance) = instantiate(&engine, &text);
        let what = format!("{operands} {locals} {stack}");
        let stats = engine.compile_stats();
        assert_eq!(
            (stats.compiled, stats.refused, stats.failed),
            (2 - refused, refused, 0),
            "{what}"
        );
        let fits = stack / ((operands + locals) * 16);
        for _ in 0..3 {
            let outcome = invoke(&mut store, instance, "f", &[Val::I32(i32::MAX)]);
            assert_eq!(outcome, Err(TrapCode::StackOverflow), "{what}");
            if refused == 0 {
                let outcome = invoke(&mut store, instance, "f", &[Val::I32(fits as i32 / 4)]);
                let expected = if fits > 3 { Ok(vec![3]) } else { Err(TrapCode::StackOverflow) };
                assert_eq!(outcome, expected, "{what}");
            }
            assert_eq!(invoke(&mut store, instance, "fine", &[]), Ok(vec![5]), "{what}");
        }
        // What does not fit is not begun: the budget is in bytes.
        let depth = instance.get_global(&store, "depth").expect("a global");
        let depth = depth.get(&mut store).expect("its value").i32().expect("an i32") as usize;
        assert!(depth <= 6 * (fits + 1), "{what}: {depth} frames");
    }
}

/// What the stores of a chain share: each has the next.
struct Link {
    next: Option<Box<(Store<Link>, Instance)>>,
    /// How often its host function was called.
    calls: u32,
}

/// A guest that calls the host, which calls the guest of the next store, and so on.
const LINK: &str = r#"(module
    (import "h" "next" (func $next (param i32) (result i32)))
    (memory 1)
    (func $inner (param i32) (result i32)
        (if (i32.eqz (local.get 0)) (then
            (drop (i32.load (i32.const -1)))))
        (i32.add (call $next (i32.sub (local.get 0) (i32.const 1))) (i32.const 1)))
    (func (export "f") (param i32) (result i32)
        (i32.add (call $inner (local.get 0)) (i32.const 10)))
    (func (export "fine") (param i32) (result i32)
        (i32.div_s (i32.const 100) (local.get 0))))"#;

fn chain(kinds: &[Kind]) -> Option<Box<(Store<Link>, Instance)>> {
    let (&first, rest) = kinds.split_first()?;
    let engine = engine_with(first, |_| {});
    let mut linker = Linker::<Link>::new(&engine);
    linker
        .func_wrap("h", "next", |mut caller: Caller<'_, Link>, n: i32| {
            caller.data_mut().calls += 1;
            let Some(mut next) = caller.data_mut().next.take() else {
                // The last of the chain goes on in its own store.
                let f = caller.get_export("f").and_then(|e| e.into_func()).expect("an export");
                return f.typed::<i32, i32>(&caller)?.call(&mut caller, n);
            };
            let f = next.1.get_typed_func::<i32, i32>(&next.0, "f").expect("an export");
            let outcome = f.call(&mut next.0, n);
            let fine = next.1.get_typed_func::<i32, i32>(&next.0, "fine").expect("an export");
            match fine.call(&mut next.0, 3) {
                Ok(quotient) => assert_eq!(quotient, 33),
                // The level of all at which the stack ends.
                Err(error) => {
                    assert_eq!(error.trap_code(), Some(TrapCode::StackOverflow));
                    caller.data_mut().next = Some(next);
                    return outcome;
                }
            }
            let zero = fine.call(&mut next.0, 0).expect_err("a division by zero");
            assert_eq!(zero.trap_code(), Some(TrapCode::IntegerDivideByZero));
            caller.data_mut().next = Some(next);
            // Every other level lets the trap through; the others make one of their own of it.
            match outcome {
                Err(error) if n % 2 == 0 => {
                    let code = error.trap_code().expect("a trap");
                    let expected = [
                        TrapCode::MemoryOutOfBounds,
                        TrapCode::IntegerDivideByZero,
                        TrapCode::StackOverflow,
                    ];
                    assert!(expected.contains(&code), "{code:?}");
                    let fine = caller.get_export("fine").and_then(|e| e.into_func());
                    fine.expect("an export").typed::<i32, i32>(&caller)?.call(&mut caller, 0)
                }
                other => other,
            }
        })
        .expect("a definition");
    let mut store = Store::new(&engine, Link { next: chain(rest), calls: 0 });
    let instance = link(&linker, &mut store, LINK);
    Some(Box::new((store, instance)))
}

/// Five levels of guest and host, each in the store of another engine, with traps at every level.
#[test]
fn t2_traps_go_through_five_levels_of_different_engines() {
    for turn in 0..ENGINES.len() {
        let mut kinds = ENGINES;
        kinds.rotate_left(turn);
        let mut first = chain(&kinds).expect("a chain");
        for levels in 0..8 {
            let (store, instance) = &mut *first;
            let f = instance.get_typed_func::<i32, i32>(&*store, "f").expect("an export");
            for _ in 0..3 {
                let error = f.call(&mut *store, levels).expect_err("it traps at the end");
                let code = error.trap_code().expect("a trap");
                // The last store calls itself beyond the fifth level, without anyone who changes the trap.
                let expected = if levels > 1 {
                    TrapCode::IntegerDivideByZero
                } else {
                    TrapCode::MemoryOutOfBounds
                };
                let either = [expected, TrapCode::IntegerDivideByZero];
                assert!(either.contains(&code), "{turn} {levels}: {code:?}");
                assert!(!store.is_poisoned());
            }
        }
        let (store, _) = &*first;
        assert!(store.data().calls >= 21);
    }
}

/// Recursion that goes through the host into the stores of other engines, on stacks of all sizes.
#[test]
fn s1_recursion_between_stores_of_different_engines_ends_on_every_stack() {
    for kib in [64, 128, 512] {
        on_small_stack(kib, move || {
            let kinds = [Kind::Compiled, Kind::Tiering, Kind::Loop, Kind::Checked];
            let mut first = chain(&kinds).expect("a chain");
            let (store, instance) = &mut *first;
            let f = instance.get_typed_func::<i32, i32>(&*store, "f").expect("an export");
            for _ in 0..3 {
                let error = f.call(&mut *store, i32::MAX).expect_err("it never ends");
                let code = error.trap_code().expect("a trap");
                let either = [TrapCode::StackOverflow, TrapCode::IntegerDivideByZero];
                assert!(either.contains(&code), "{code:?}");
                assert!(!store.is_poisoned());
            }
        });
    }
}

// ---- changes of what was decided before ----

const DEEP: &str = r#"(module
    (func $f (export "f") (param i32) (result i32)
        (if (result i32) (local.get 0)
            (then (call $f (i32.sub (local.get 0) (i32.const 1)))) (else (i32.const 7)))))"#;

/// A limit on calls that is set after machine code ran, which does not count calls, holds from then on.
#[test]
fn s1_a_limit_of_calls_that_is_set_late_holds() {
    for kind in ENGINES {
        let engine = engine_with(kind, |_| {});
        let (mut store, instance) = instantiate(&engine, DEEP);
        let run = |store: &mut Store<()>, n| invoke(store, instance, "f", &[Val::I32(n)]);
        for _ in 0..3 {
            store.set_call_depth_limit(None);
            assert_eq!(run(&mut store, 5_000), Ok(vec![7]), "{kind:?}");
            store.set_call_depth_limit(Some(100));
            assert_eq!(run(&mut store, 99), Ok(vec![7]), "{kind:?}");
            assert_eq!(run(&mut store, 100), Err(TrapCode::CallDepthExceeded), "{kind:?}");
            // What is made meanwhile is limited as well.
            let other = link(&Linker::new(&engine), &mut store, DEEP);
            let outcome = invoke(&mut store, other, "f", &[Val::I32(100)]);
            assert_eq!(outcome, Err(TrapCode::CallDepthExceeded), "{kind:?}");
        }
    }
}

// ---- many threads ----

/// Stores on many threads make, run, stop and drop instances of modules that all share, while functions of
/// theirs are compiled.
#[test]
fn p1_stores_on_many_threads_share_the_code_of_an_engine() {
    let text = |n: u32| {
        format!(
            "(module (memory 1)
               (func $work (param i32) (result i32) (local i32)
                 (loop $l
                   (i32.store (i32.const 64) (i32.add (i32.load (i32.const 64)) (local.get 0)))
                   (local.set 1 (i32.add (local.get 1) (i32.const {n})))
                   (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
                 (local.get 1))
               (func (export \"f\") (param i32) (result i32)
                 (i32.add (call $work (local.get 0)) (call $work (i32.const 10))))
               (func (export \"trap\") (param i32) (result i32) (i32.load (i32.sub (local.get 0) (i32.const 100000))))
               (func (export \"for_ever\") (param i32) (result i32) (loop (br 0)) (i32.const 0)))"
        )
    };
    let background = |threshold| {
        engine_with(Kind::Compiled, |config| {
            let tuning = Tuning { threshold, wait: false, threads: 2, ..Tuning::default() };
            config.strategy(Strategy::Auto).tuning(tuning).paranoid(false);
        })
    };
    let engines =
        [background(2), background(40), engine_with(Kind::Tiering, |_| {}), quick(Kind::Compiled)];
    for engine in engines {
        let shared: Arc<Vec<Module>> =
            Arc::new((0..4).map(|n| module(&engine, &text(n + 1))).collect());
        let ran = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for thread in 0..8u32 {
                let (engine, shared, ran, text) = (&engine, &shared, &ran, &text);
                scope.spawn(move || {
                    for round in 0..8u32 {
                        // Some modules are of this thread alone, and go with their stores while others run.
                        let own;
                        let n = (thread + round) % 4 + 1;
                        let module = if round % 3 == 0 {
                            own = Module::new(engine, text(n)).expect("a module");
                            &own
                        } else {
                            &shared[n as usize - 1]
                        };
                        let mut store = Store::new(engine, ());
                        let instance = Instance::new(&mut store, module, &[]).expect("an instance");
                        for turns in [1, 50, 500] {
                            let outcome = invoke(&mut store, instance, "f", &[Val::I32(turns)]);
                            let expected = (turns as u64 + 10) * u64::from(n);
                            assert_eq!(outcome, Ok(vec![expected]));
                            let outcome = invoke(&mut store, instance, "trap", &[Val::I32(5)]);
                            assert_eq!(outcome, Err(TrapCode::MemoryOutOfBounds));
                        }
                        let handle = store.interrupt_handle();
                        let stopper =
                            std::thread::spawn(move || handle.interrupt(TrapCode::Interrupted));
                        let outcome = invoke(&mut store, instance, "for_ever", &[Val::I32(0)]);
                        assert_eq!(outcome, Err(TrapCode::Interrupted));
                        stopper.join().expect("no panic");
                        ran.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(ran.load(Ordering::Relaxed), 64);
        assert_eq!(engine.compile_stats().failed, 0);
    }
}

/// Traces of stacks that are partly interpreted and partly machine code, whatever the place of the change.
#[test]
fn t5_backtraces_are_the_same_wherever_the_engine_changes() {
    let text = r#"(module $m
        (import "h" "host" (func $host (param i32)))
        (type $t (func (param i32))) (table funcref (elem $a $b $c))
        (func $a (param i32) (call $b (local.get 0)))
        (func $b (param i32)
            (if (i32.eqz (local.get 0)) (then (call $host (i32.const 1)) unreachable))
            (call_indirect (type $t) (i32.sub (local.get 0) (i32.const 1))
                (i32.rem_u (local.get 0) (i32.const 3))))
        (func $c (param i32) (return_call $b (local.get 0)))
        (func (export "f") (param i32) (call $a (local.get 0))))"#;
    let trace = |engine: &Engine, depth: i32, fails: bool| {
        let mut linker = Linker::<()>::new(engine);
        let host = move |_: i32| {
            if fails { Err(palisade::Error::msg("the host fails")) } else { Ok(()) }
        };
        linker.func_wrap("h", "host", host).expect("a definition");
        let mut store = store(engine);
        let instance = link(&linker, &mut store, text);
        let f = instance.get_func(&store, "f").expect("an export");
        let mut traces = Vec::new();
        for _ in 0..4 {
            let error = f.call(&mut store, &[Val::I32(depth)], &mut []).expect_err("it traps");
            let trace = error.backtrace().expect("a backtrace");
            let frames = trace.frames().iter().map(|frame| {
                (frame.func_index(), frame.module_offset(), frame.func_name().map(str::to_owned))
            });
            traces.push((frames.collect::<Vec<_>>(), trace.omitted()));
        }
        traces
    };
    for (depth, fails) in [(0, false), (1, true), (50, false), (50, true), (5_000, false)] {
        let expected = trace(&engine_with(Kind::TailCall, |_| {}), depth, fails);
        assert!(expected.iter().all(|one| *one == expected[0]));
        for kind in COMPILING {
            assert_eq!(trace(&engine_with(kind, |_| {}), depth, fails), expected, "{kind:?}");
        }
        for threshold in [2, 3, 7, 20, 60] {
            let engine = engine_with(Kind::Tiering, |config| {
                config.tuning(Tuning { threshold, wait: true, ..Tuning::default() });
            });
            assert_eq!(trace(&engine, depth, fails), expected, "after {threshold}");
        }
    }
    // No guest is on the stack.
    for kind in ENGINES {
        let mut store = store(&engine_with(kind, |_| {}));
        let fails = || -> palisade::Result<()> { Err(palisade::Error::msg("at once")) };
        let func = Func::wrap(&mut store, fails).expect("a function");
        let error = func.call(&mut store, &[], &mut []).expect_err("it fails");
        assert!(error.backtrace().is_none_or(|trace| trace.frames().is_empty()), "{kind:?}");
        let fine = Func::wrap(&mut store, || 5i32).expect("a function");
        assert_eq!(call(&mut store, fine, &[]), Ok(vec![5]));
    }
}
