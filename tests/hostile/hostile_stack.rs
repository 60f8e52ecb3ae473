//! S1 to S4: whatever a guest does to the stack, it ends in a trap; and the tail-call dispatcher leaves
//! the host's stack alone.

mod hostile_support;

use std::fmt::Write;

use hostile_support::{call, engine_with, engines, invoke, on_small_stack, store};
use palisade::{
    Caller, Config, Dispatch, Engine, Func, FuncType, Instance, Linker, Module, Ref, Store,
    TrapCode, Val, ValType,
};
use palisade_tests::{ENGINES, Kind, link, module};

fn instantiate(engine: &Engine, text: &str) -> (Store<()>, Instance) {
    let mut store = store(engine);
    let instance = link(&Linker::new(engine), &mut store, text);
    (store, instance)
}

/// `count` locals of type `i64`.
fn locals(count: usize) -> String {
    format!("(local{})", " i64".repeat(count))
}

const WAYS: [(&str, &str); 4] = [
    ("direct", "call $f"),
    ("mutual", "call $g"),
    ("indirect", "i32.const 0 call_indirect (type $t)"),
    ("ref", "ref.func $f call_ref $t"),
];

#[test]
fn s1_recursion_traps_whatever_the_frames_size_and_the_way_of_calling() {
    // 8,000 locals are frames of 64 KiB, 50,000 of 400 KB.
    for frame in [0, 1, 100, 8_000, 49_000] {
        for (way, again) in WAYS {
            let text = format!(
                "(module (type $t (func)) (table funcref (elem $f))
                   (global $depth (export \"depth\") (mut i32) (i32.const 0))
                   (func $f (export \"f\") (type $t) {0}
                     global.get $depth i32.const 1 i32.add global.set $depth {again})
                   (func $g (type $t) {0} call $f)
                   (func (export \"fine\") (result i32) i32.const 5))",
                locals(frame)
            );
            let mut interpreted = Vec::new();
            for (kind, fuel) in ENGINES.into_iter().flat_map(|k| [(k, false), (k, true)]) {
                let engine = engine_with(kind, |config| {
                    config.consume_fuel(fuel);
                });
                let (mut store, instance) = instantiate(&engine, &text);
                let run = instance.get_func(&store, "f").expect("an export");
                let mut results = [];
                let error = run.call(&mut store, &[], &mut results).expect_err("it never ends");
                let what = format!("{way} {frame} {kind:?}");
                assert_eq!(error.trap_code(), Some(TrapCode::StackOverflow), "{what}");
                let trace = error.backtrace().expect("a backtrace");
                assert!(trace.frames().len() <= 200, "{}", trace.frames().len());
                let depth = instance.get_global(&store, "depth").expect("a global");
                let depth = depth.get(&mut store).expect("its value").i32().expect("an i32");
                assert!(trace.frames().len() as u64 + trace.omitted() >= depth as u64, "{what}");
                assert_eq!(invoke(&mut store, instance, "fine", &[]), Ok(vec![5]), "{what}");
                if kind.interprets() {
                    interpreted.push(depth);
                } else {
                    // Locals that nobody reads take no room in machine code; two words are the least that there is.
                    // Some frames may be the interpreter's, which have a stack of their own.
                    assert!(depth > 0 && depth <= 2 << 16, "{what}: {depth}");
                }
            }
            let depth = interpreted[0];
            assert!(interpreted.iter().all(|d| *d == depth), "{way} {frame}: {interpreted:?}");
            // The budget is in bytes: 1 MiB of them, between a header and the whole frame each.
            let least = (frame as i32 + 2) * 8;
            assert!(depth * least <= 1 << 20, "{way} {frame}: {depth}");
            assert!((depth + 2) * (least + 80) * 2 > 1 << 20, "{way} {frame}: {depth}");
        }
    }
}

/// A frame that ends exactly where the stack ends calls a function that has never been called.
#[test]
fn s1_a_function_not_yet_translated_is_called_at_the_very_end_of_the_stack() {
    for kind in ENGINES {
        let engine = engine_with(kind, |config| {
            config.max_wasm_stack(64 << 10);
        });
        for padding in 0..14 {
            let text = format!(
                "(module
                   (global $depth (export \"depth\") (mut i32) (i32.const 0))
                   (func $leaf (param i64 i64 i64))
                   (func $f (param i32) (local i64 i64 i64 i64)
                     global.get $depth i32.const 1 i32.add global.set $depth
                     local.get 0 if
                       local.get 0 i32.const 1 i32.sub call $f
                     else
                       i64.const 1 i64.const 2 i64.const 3 call $leaf
                     end)
                   (func (export \"f\") (param i32) {} local.get 0 call $f))",
                locals(padding)
            );
            let run = |depth: i32| {
                let (mut store, instance) = instantiate(&engine, &text);
                let outcome = invoke(&mut store, instance, "f", &[Val::I32(depth)]);
                let reached = instance.get_global(&store, "depth").expect("a global");
                (outcome, reached.get(&mut store).expect("its value").i32().expect("an i32"))
            };
            let (outcome, depth) = run(i32::MAX);
            assert_eq!(outcome, Err(TrapCode::StackOverflow));
            for n in depth - 3..depth + 1 {
                let (outcome, reached) = run(n);
                let full = outcome == Err(TrapCode::StackOverflow);
                assert!(outcome == Ok(vec![]) || full, "{outcome:?}");
                assert!(reached == n + 1 || full, "{reached} of {n}");
            }
        }
    }
}

#[test]
fn s1_the_call_depth_limit_is_exact() {
    for engine in engines() {
        for (way, again) in WAYS {
            let text = format!(
                "(module (type $t (func (param i32))) (table funcref (elem $f))
                   (func $f (export \"f\") (type $t) local.get 0 i32.eqz if return end
                     local.get 0 i32.const 1 i32.sub {again})
                   (func $g (type $t) local.get 0 return_call $f))"
            );
            let (mut store, instance) = instantiate(&engine, &text);
            store.set_call_depth_limit(Some(1024));
            for _ in 0..2 {
                let run = |store: &mut Store<()>, n| invoke(store, instance, "f", &[Val::I32(n)]);
                assert_eq!(run(&mut store, 1023), Ok(vec![]), "{way}");
                assert_eq!(run(&mut store, 1024), Err(TrapCode::CallDepthExceeded), "{way}");
            }
        }
    }
}

/// A guest whose recursion goes through the host, with every kind of call of the host.
const REENTER: &str = r#"(module
    (import "h" "again" (func $again (param i32)))
    (table (export "t") funcref (elem $again))
    (type $t (func (param i32)))
    (func (export "direct") (param i32) local.get 0 call $again)
    (func (export "indirect") (param i32) local.get 0 i32.const 0 call_indirect (type $t))
    (elem declare func $again)
    (func (export "ref") (param i32) local.get 0 ref.func $again call_ref $t)
    (func (export "tail") (param i32) local.get 0 return_call $again)
    (func (export "fine") (result i32) i32.const 5))"#;

#[test]
fn s1_recursion_through_the_host_traps_on_small_and_large_stacks() {
    let run = |kib: usize| {
        for kind in ENGINES {
            let engine = engine_with(kind, |config| {
                // So large that the host's stack is what ends it.
                config.max_wasm_stack(256 << 20);
            });
            for way in ["direct", "indirect", "ref", "tail"] {
                on_small_stack(kib, {
                    let engine = engine.clone();
                    move || reenter(&engine, way)
                });
            }
        }
    };
    run(256);
    run(1024);
    run(8192);
}

fn reenter(engine: &Engine, way: &'static str) {
    let mut linker = Linker::<u32>::new(engine);
    linker
        .func_wrap("h", "again", move |mut caller: Caller<'_, u32>, n: i32| {
            *caller.data_mut() += 1;
            let again = caller.get_export(way).and_then(palisade::Extern::into_func);
            let again = again.expect("an export").typed::<i32, ()>(&caller)?;
            again.call(&mut caller, n)
        })
        .expect("a definition");
    let mut store = Store::new(engine, 0);
    let instance = link(&linker, &mut store, REENTER);
    for _ in 0..3 {
        *store.data_mut() = 0;
        let outcome = invoke(&mut store, instance, way, &[Val::I32(1)]);
        assert_eq!(outcome, Err(TrapCode::StackOverflow), "{way}");
        assert!(*store.data() > 10, "{way}: only {}", store.data());
        assert!(!store.is_poisoned());
        assert_eq!(invoke(&mut store, instance, "fine", &[]), Ok(vec![5]));
    }
}

/// A thousand parameters and a thousand results of all types, in an order that no other test has.
fn thousand() -> (Vec<ValType>, Vec<Val>) {
    let mut rng = hostile_support::Rng::new(1_000);
    let values: Vec<Val> = (0..1_000)
        .map(|_| match rng.below(4) {
            0 => Val::I32(rng.next() as i32),
            1 => Val::I64(rng.next() as i64),
            2 => Val::F32(rng.next() as u32),
            _ => Val::F64(rng.next()),
        })
        .collect();
    let types = values
        .iter()
        .map(|value| match value {
            Val::I32(_) => ValType::I32,
            Val::I64(_) => ValType::I64,
            Val::F32(_) => ValType::F32,
            _ => ValType::F64,
        })
        .collect();
    (types, values)
}

#[test]
fn s2_a_thousand_parameters_and_results_through_every_kind_of_call() {
    let (types, values) = thousand();
    let list = types.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let gets: String = (0..1_000).fold(String::new(), |mut out, i| {
        let _ = write!(out, "local.get {i} ");
        out
    });
    let text = format!(
        "(module (type $t (func (param {list}) (result {list})))
           (import \"h\" \"same\" (func $host (type $t)))
           (table funcref (elem $inner $host)) (elem declare func $inner)
           (func $inner (type $t) {gets})
           (func (export \"direct\") (type $t) {gets} call $inner)
           (func (export \"host\") (type $t) {gets} call $host)
           (func (export \"indirect\") (type $t) {gets} i32.const 0 call_indirect (type $t))
           (func (export \"indirect_host\") (type $t) {gets} i32.const 1 call_indirect (type $t))
           (func (export \"ref\") (type $t) {gets} ref.func $inner call_ref $t)
           (func (export \"tail\") (type $t) {gets} return_call $inner)
           (func (export \"tail_host\") (type $t) {gets} return_call $host)
           (func (export \"tail_indirect\") (type $t) {gets} i32.const 0
             return_call_indirect (type $t))
           (func (export \"tail_ref\") (type $t) {gets} ref.func $inner return_call_ref $t)
           (func (export \"block\") (type $t)
             i32.const 0 {gets} (block $l (type $t) i32.const 1 br_if $l) return)
           (func (export \"turned\") (type $t) {gets} call $inner call $host call $inner))"
    );
    let expected: Vec<u64> = values.iter().map(hostile_support::bits).collect();
    for engine in engines() {
        let mut store = store(&engine);
        let ty = FuncType::new(types.clone(), types.clone());
        let host = Func::new(&mut store, ty, |_, params, results| {
            results.copy_from_slice(params);
            Ok(())
        })
        .expect("a function");
        let module = module(&engine, &text);
        let instance = Instance::new(&mut store, &module, &[host.into()]).expect("instantiation");
        for export in instance.exports(&store) {
            let func = export.into_extern().into_func().expect("a function");
            assert_eq!(call(&mut store, func, &values).as_ref(), Ok(&expected));
            assert!(call_with_wrong_counts(&mut store, func, &values));
        }
    }
}

fn call_with_wrong_counts(store: &mut Store<()>, func: Func, values: &[Val]) -> bool {
    let mut room = vec![Val::I32(0); 1_000];
    let too_few = func.call(&mut *store, &values[1..], &mut room).is_err();
    let too_small = func.call(&mut *store, values, &mut room[1..]).is_err();
    too_few && too_small
}

/// Tail calls round a ring of functions with 1, 3, 17, 20, 0 and 1,000 parameters.
fn ring(call: impl Fn(usize) -> String, imports: &str) -> String {
    let arities = [1, 3, 17, 20, 0, 1_000];
    let mut text =
        format!("(module {imports} (global $turns (export \"turns\") (mut i64) (i64.const 0))");
    for (number, count) in arities.iter().enumerate() {
        let _ =
            write!(text, "(type $t{number} (func (param{}) (result i32)))", " i64".repeat(*count));
    }
    text += "(table $table 6 funcref) (elem (i32.const 0) func $f0 $f1 $f2 $f3 $f4 $f5)";
    for (number, count) in arities.iter().enumerate() {
        let next = (number + 1) % arities.len();
        let args: String = (0..arities[next]).fold(String::new(), |mut out, i| {
            let _ = match count {
                0 => write!(out, "i64.const {i} "),
                _ => write!(out, "local.get {} ", i % count),
            };
            out
        });
        let _ = write!(
            text,
            "(func $f{number} (export \"f{number}\") (type $t{number}) (local i32)
               global.get $turns i64.const 1 i64.add global.set $turns
               {args} {})",
            call(next)
        );
    }
    text.push(')');
    text
}

#[test]
fn s3_endless_tail_calls_with_changing_argument_counts_run_until_the_fuel_is_gone() {
    for kind in ENGINES {
        let engine = engine_with(kind, |config| {
            config.consume_fuel(true).max_wasm_stack(64 << 10).call_depth(Some(2));
        });
        let kinds: [&dyn Fn(usize) -> String; 3] = [
            &|next| format!("return_call $f{next}"),
            &|next| format!("i32.const {next} return_call_indirect $table (type $t{next})"),
            &|next| format!("ref.func $f{next} return_call_ref $t{next}"),
        ];
        for kind in kinds {
            let (mut store, instance) = instantiate(&engine, &ring(kind, ""));
            store.set_fuel(20_000_000).expect("metered");
            let outcome = invoke(&mut store, instance, "f4", &[]);
            assert_eq!(outcome, Err(TrapCode::OutOfFuel));
            assert_eq!(store.get_fuel().expect("metered"), 0);
            let turns = instance.get_global(&store, "turns").expect("a global");
            assert!(turns.get(&mut store).expect("a value").i64() > Some(80_000));
        }
    }
}

/// Two instances that tail-call each other, with a host function between them.
#[test]
fn s3_endless_tail_calls_across_instances_and_after_host_calls() {
    let first = r#"(module
        (import "h" "nothing" (func $nothing (param i64)))
        (type $wide (func (param i64 i64 i64 i64 i64) (result i64)))
        (type $narrow (func (param i64) (result i64)))
        (table (export "table") 2 funcref)
        (func (export "start") (param i64) (result i64) (local i64 i64 i64)
            local.get 0 call $nothing
            local.get 0 i64.eqz if i64.const 77 return end
            local.get 0 i64.const 1 i64.sub
            i64.const 1 i64.const 2 i64.const 3 i64.const 4
            i32.const 1 return_call_indirect (type $wide))
        (func (export "outer") (param i64) (result i64)
            i64.const 1000 local.get 0 i32.const 0 call_indirect (type $narrow) i64.add))"#;
    let second = r#"(module
        (import "h" "nothing" (func $nothing (param i64)))
        (import "a" "start" (func $start (param i64) (result i64)))
        (import "a" "table" (table 2 funcref))
        (elem (i32.const 0) func $start $wide)
        (func $wide (param i64 i64 i64 i64 i64) (result i64)
            local.get 4 i64.const 4 i64.ne if unreachable end
            local.get 0 call $nothing
            local.get 0 return_call $start))"#;
    for kind in ENGINES {
        let engine = engine_with(kind, |config| {
            config.consume_fuel(true).max_wasm_stack(64 << 10).call_depth(Some(4));
        });
        let mut linker = Linker::<()>::new(&engine);
        linker.func_wrap("h", "nothing", |_: i64| {}).expect("a definition");
        let mut store = store(&engine);
        let a = link(&linker, &mut store, first);
        linker.instance(&mut store, "a", a).expect("a definition");
        link(&linker, &mut store, second);
        for name in ["start", "outer"] {
            let expected = if name == "start" { 77 } else { 1077 };
            let turns = [Val::I64(500_000)];
            assert_eq!(invoke(&mut store, a, name, &turns), Ok(vec![expected]), "{name}");
            store.set_fuel(1_000_000).expect("metered");
            let endless = [Val::I64(i64::MAX)];
            assert_eq!(invoke(&mut store, a, name, &endless), Err(TrapCode::OutOfFuel));
            store.set_fuel(i64::MAX as u64).expect("metered");
        }
    }
}

/// A tail call of a host function ends the function that makes it; a million of them.
#[test]
fn s3_tail_calls_of_host_functions_leave_nothing_behind() {
    let text = r#"(module
        (import "h" "add" (func $add (param i64 i64) (result i64)))
        (import "h" "both" (func $both (param externref i64) (result i64 externref)))
        (func $tail (param i64) (result i64) local.get 0 i64.const 3 return_call $add)
        (func $refs (param i64 externref) (result i64 externref)
            local.get 1 local.get 0 return_call $both)
        (func (export "run") (param i32 externref) (result i64 externref) (local i64)
            loop
                local.get 2 call $tail local.set 2
                local.get 2 local.get 1 call $refs local.set 1 local.set 2
                local.get 0 i32.const 1 i32.sub local.tee 0 br_if 0
            end
            local.get 2 local.get 1))"#;
    for kind in ENGINES {
        let engine = engine_with(kind, |config| {
            config.max_wasm_stack(64 << 10).call_depth(Some(3));
        });
        let mut linker = Linker::<()>::new(&engine);
        linker.func_wrap("h", "add", |a: i64, b: i64| a + b).expect("a definition");
        let both = |r: Option<palisade::ExternRef>, x: i64| (x - 1, r);
        linker.func_wrap("h", "both", both).expect("a definition");
        let mut store = store(&engine);
        let instance = link(&linker, &mut store, text);
        let value = palisade::ExternRef::new(&mut store, 9u8).expect("a reference");
        let run = instance.get_func(&store, "run").expect("an export");
        let args = [Val::I32(500_000), Val::ExternRef(Some(value))];
        let mut results = [Val::I32(0), Val::I32(0)];
        run.call(&mut store, &args, &mut results).expect("it ends");
        assert_eq!(results[0].i64(), Some(1_000_000));
        let Val::ExternRef(Some(same)) = results[1] else { panic!("{:?}", results[1]) };
        assert!(palisade::ExternRef::ref_eq(&store, &same, &value).expect("both are there"));
    }
}

/// `count` nested blocks of a kind, in flat and in folded text.
fn nested(count: usize, kind: &str) -> Vec<String> {
    let (open, fold) = match kind {
        "if" => ("i32.const 1 if ".to_owned(), "(if (i32.const 1) (then ".to_owned()),
        kind => (format!("{kind} "), format!("({kind} ")),
    };
    let close = if kind == "if" { "))" } else { ")" };
    vec![
        format!(
            "(module (func (export \"f\") (result i32) {} {} i32.const 6))",
            open.repeat(count),
            "end ".repeat(count)
        ),
        format!(
            "(module (func (export \"f\") (result i32) {} {} (i32.const 6)))",
            fold.repeat(count),
            close.repeat(count)
        ),
    ]
}

#[test]
fn s4_deep_nesting_works_or_is_an_error_on_a_small_stack() {
    on_small_stack(256, || {
        for kind in ENGINES {
            let engine = engine_with(kind, |_| {});
            // The compiler makes code of what is far deeper than any program; more than that takes it long.
            let deep = if kind.interprets() { 99_000 } else { 3_000 };
            for (count, works) in [(deep, true), (100_001, false)] {
                for text in ["block", "loop", "if"].iter().flat_map(|kind| nested(count, kind)) {
                    match Module::new(&engine, &text) {
                        Ok(module) => {
                            assert!(works, "over the limit");
                            let mut store = store(&engine);
                            let instance =
                                Instance::new(&mut store, &module, &[]).expect("no imports");
                            assert_eq!(invoke(&mut store, instance, "f", &[]), Ok(vec![6]));
                        }
                        Err(error) => {
                            // The text parser may have a limit of its own for parentheses.
                            let error = error.to_string();
                            let text = error.contains("nest") || error.contains("deep");
                            assert!(text && error.len() < 2_000, "{error:.300}");
                        }
                    }
                }
            }
        }
    });
}

#[test]
fn s4_other_input_that_nests_deeply() {
    let deep = 20_000;
    let sums = format!(
        "(module (global (export \"g\") i32 {} {}))",
        "i32.const 1 ".repeat(deep),
        "i32.add ".repeat(deep - 1)
    );
    let folded_sums = format!(
        "(module (func (export \"f\") (result i32) {} (i32.const 1) {}))",
        "(i32.add (i32.const 1) ".repeat(deep),
        ")".repeat(deep)
    );
    let comments = format!("{}{} (module)", "(; ".repeat(deep), ";) ".repeat(deep));
    let parens = "(".repeat(deep);
    let modules = format!("{}{}", "(module ".repeat(deep), ")".repeat(deep));
    let annotations = format!("(module {}{})", "(@a ".repeat(deep), ")".repeat(deep));
    let components = format!("{}{}", "(component ".repeat(deep), ")".repeat(deep));
    let mut chain = String::from("(module (rec (type $t0 (sub (func)))");
    for i in 1..1_000 {
        let _ = write!(chain, "(type $t{i} (sub $t{} (func)))", i - 1);
    }
    chain += "))";
    let mut rec = String::from("(module (rec");
    for i in 0..deep {
        let _ = write!(rec, "(type $t{i} (func (param (ref null $t{}))))", (i + 1) % deep);
    }
    rec += "))";
    on_small_stack(256, move || {
        for kind in ENGINES {
            let engine = engine_with(kind, |_| {});
            for text in [&comments, &parens, &modules, &annotations, &components, &chain] {
                if let Err(error) = Module::new(&engine, text) {
                    assert!(error.to_string().len() < 4_000, "{:.100}", error.to_string());
                }
            }
            for text in [&sums, &folded_sums, &rec] {
                let module = Module::new(&engine, text).expect("a module");
                let mut store = store(&engine);
                let instance = Instance::new(&mut store, &module, &[]).expect("no imports");
                let exports: Vec<_> = instance.exports(&store).collect();
                for export in exports {
                    match export.into_extern() {
                        palisade::Extern::Func(func) => {
                            assert_eq!(call(&mut store, func, &[]), Ok(vec![deep as u64 + 1]));
                        }
                        palisade::Extern::Global(global) => {
                            let value = global.get(&mut store).expect("a value");
                            assert_eq!(value.i32(), Some(deep as i32));
                        }
                        _ => panic!("another export"),
                    }
                }
            }
        }
    });
}

/// A long chain of instances that keep each other alive through tables goes away without recursion.
#[test]
fn s4_long_chains_of_objects_are_dropped_on_a_small_stack() {
    on_small_stack(256, || {
        let engine = engine_with(Kind::Loop, |_| {});
        let mut store = store(&engine);
        let text = r#"(module (import "p" "f" (func $p)) (table (export "t") 1 funcref)
            (elem (i32.const 0) func $f) (func $f (export "f") call $p))"#;
        let module = module(&engine, text);
        let mut previous = Func::wrap(&mut store, || {}).expect("a function");
        for _ in 0..40_000 {
            let instance =
                Instance::new(&mut store, &module, &[previous.into()]).expect("instantiation");
            previous = instance.get_func(&store, "f").expect("an export");
        }
        let mut results = [];
        let error = previous.call(&mut store, &[], &mut results).expect_err("too deep");
        assert_eq!(error.trap_code(), Some(TrapCode::StackOverflow));
        drop(store);
        let mut error = palisade::Error::msg("the innermost");
        for depth in 0..50_000 {
            error = error.context(depth);
        }
        drop(error);
    });
}

/// A module whose function `run` goes `n` times round a loop that has one of each operator in it.
fn everything() -> String {
    let mut body = String::new();
    for t in ["i32", "i64", "f32", "f64"] {
        let (a, b) = (format!("local.get ${t}a "), format!("local.get ${t}b "));
        let int = t.starts_with('i');
        let ops = if int {
            "add sub mul and or xor shl shr_s shr_u rotl rotr div_s div_u rem_s rem_u \
             eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u"
        } else {
            "add sub mul div min max copysign eq ne lt gt le ge"
        };
        let constant = format!("{t}.const 3 ");
        for op in ops.split_whitespace() {
            let comparison = matches!(&op[..2], "eq" | "ne" | "lt" | "gt" | "le" | "ge");
            let result = if comparison { "i32" } else { t };
            for (x, y) in [(&a, &b), (&a, &constant), (&constant, &b)] {
                // Slots and immediates; then the accumulator on either side.
                let _ = writeln!(body, "{x}{y}{t}.{op} local.set ${result}c");
                let _ =
                    writeln!(body, "{x}{a}{b}{t}.add {t}.{op} drop {a}{b}{t}.add {y}{t}.{op} drop");
                if comparison {
                    let _ = writeln!(body, "block {x}{y}{t}.{op} br_if 0 end");
                    let _ = writeln!(body, "{x}{y}{t}.{op} i32.eqz if nop else nop end");
                    let _ = writeln!(body, "{x}{y} {x}{y}{t}.{op} select drop");
                }
            }
        }
        let unary = match t {
            "i32" => "eqz clz ctz popcnt extend8_s extend16_s",
            "i64" => "eqz clz ctz popcnt extend8_s extend16_s extend32_s",
            _ => "abs neg ceil floor trunc nearest sqrt",
        };
        for op in unary.split_whitespace() {
            let _ = writeln!(body, "{a}{t}.{op} drop {a}{b}{t}.add {t}.{op} drop");
        }
        let _ = writeln!(
            body,
            "{a}{b} local.get $n select drop global.get ${t}g global.set ${t}g {a}global.set ${t}g
             {a}{b}{t}.add global.set ${t}g {a}{b}call ${t}_twice drop"
        );
    }
    for conversion in
        "i32.wrap_i64:i64 i32.trunc_f32_s:f32 i32.trunc_f32_u:f32 i32.trunc_f64_s:f64 \
        i32.trunc_f64_u:f64 i32.reinterpret_f32:f32 i32.trunc_sat_f32_s:f32 \
        i32.trunc_sat_f64_u:f64 i64.extend_i32_s:i32 i64.extend_i32_u:i32 i64.trunc_f32_s:f32 \
        i64.trunc_f64_u:f64 i64.trunc_sat_f64_s:f64 i64.reinterpret_f64:f64 f32.convert_i32_s:i32 \
        f32.convert_i64_u:i64 f32.demote_f64:f64 f32.reinterpret_i32:i32 f64.convert_i32_u:i32 \
        f64.convert_i64_s:i64 f64.promote_f32:f32 f64.reinterpret_i64:i64"
            .split_whitespace()
    {
        let (op, from) = conversion.split_once(':').expect("a pair");
        let _ = writeln!(
            body,
            "local.get ${from}a {op} drop local.get ${from}a local.get ${from}b {from}.add {op} drop"
        );
    }
    for access in "i32.load i64.load f32.load f64.load i32.load8_s i32.load8_u i32.load16_s \
        i32.load16_u i64.load8_s i64.load8_u i64.load16_s i64.load16_u i64.load32_s i64.load32_u"
        .split_whitespace()
    {
        for address in [
            "i32.const 8",
            "local.get $i32a",
            "local.get $i32a local.get $i32b i32.add",
            "local.get $i32a local.get $i32b i32.const 2 i32.shl i32.add",
            "local.get $i32a local.get $i32b i32.mul",
            "local.get $i32a local.get $i32b local.get $i32a i32.mul i32.add",
        ] {
            let _ =
                writeln!(body, "{address} {access} offset=3 drop {address} {access} $second drop");
        }
        let _ = writeln!(body, "local.get $i64a {access} $wide drop");
    }
    for access in "i32.store i64.store f32.store f64.store i32.store8 i32.store16 i64.store8 \
        i64.store16 i64.store32"
        .split_whitespace()
    {
        let t = &access[..3];
        for address in ["i32.const 8", "local.get $i32a", "local.get $i32a local.get $i32b i32.add"]
        {
            for value in [
                format!("{t}.const 5"),
                format!("local.get ${t}a"),
                format!("local.get ${t}a local.get ${t}b {t}.add"),
            ] {
                let _ = writeln!(body, "{address} {value} {access} offset=1");
                let _ = writeln!(body, "{address} {value} {access} $second");
            }
        }
        let _ = writeln!(body, "local.get $i64a local.get ${t}a {access} $wide");
    }
    format!(
        r#"(module
            (import "h" "nothing" (func $nothing (param i32) (result i32)))
            (import "o" "other" (func $other (param i64) (result i64)))
            (memory 1) (memory $second 1) (memory $wide i64 1)
            (table $funcs 4 funcref) (elem (i32.const 0) func $leaf $other $nothing)
            (table $refs 4 externref) (data $data "x") (elem $elem func $leaf)
            (type $leaf (func)) (type $other (func (param i64) (result i64)))
            (global $i32g (mut i32) (i32.const 1)) (global $i64g (mut i64) (i64.const 1))
            (global $f32g (mut f32) (f32.const 1)) (global $f64g (mut f64) (f64.const 1))
            (global $refg (mut externref) (ref.null extern))
            (func $leaf)
            (func $i32_twice (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
            (func $i64_twice (param i64 i64) (result i64) local.get 1)
            (func $f32_twice (param f32 f32) (result f32) f32.const 2)
            (func $f64_twice (param f64 f64) (result f64) local.get 0 local.get 1 f64.sub)
            (func $several (param i32 i64) (result i64 i32) local.get 1 local.get 0)
            (func $tail (param i64) (result i64) local.get 0 return_call $other)
            (func $tail_in (param i32 i64) (result i64 i32) (local i64)
                local.get 0 local.get 1 return_call $several)
            (func $tail_host (param i32) (result i32) local.get 0 return_call $nothing)
            (func $tail_table i32.const 0 return_call_indirect (type $leaf))
            (func $tail_ref ref.func $leaf return_call_ref $leaf)
            (table $funcs64 i64 2 funcref) (elem (table $funcs64) (i64.const 1) func $other)
            (func $tail_other (type $other) local.get 0 i32.const 1 return_call_indirect (type $other))
            (func $tail_other_ref (type $other) local.get 0 ref.func $other return_call_ref $other)
            (func $same (param externref) (result externref) (local externref)
                local.get 0 local.tee 1 local.get 0 i32.const 1 select (result externref))
            (func (export "run") (param $n i32) (param $r externref)
                (local $i32a i32) (local $i32b i32) (local $i32c i32)
                (local $i64a i64) (local $i64b i64) (local $i64c i64)
                (local $f32a f32) (local $f32b f32) (local $f32c f32)
                (local $f64a f64) (local $f64b f64) (local $f64c f64) (local $k i32)
                i32.const 40 local.set $i32a i32.const 7 local.set $i32b
                i64.const 40 local.set $i64a i64.const 7 local.set $i64b
                f32.const 40 local.set $f32a f32.const 7 local.set $f32b
                f64.const 40 local.set $f64a f64.const 7 local.set $f64b
                loop $again
                    {body}
                    local.get $i32a call $nothing drop local.get $i64a call $other drop
                    call $leaf i32.const 0 call_indirect (type $leaf)
                    local.get $i64a i32.const 1 call_indirect (type $other) drop
                    local.get $i64a local.get $i32b i32.const 6 i32.sub
                    call_indirect (type $other) drop
                    local.get $i64a i64.const 1 call_indirect $funcs64 (type $other) drop
                    local.get $i64a call $tail_other drop local.get $i64a call $tail_other_ref drop
                    i64.const 0 table.get $funcs64 drop
                    ref.func $leaf call_ref $leaf ref.func $leaf ref.is_null drop
                    local.get $i64a ref.func $other call_ref $other drop
                    local.get $i32a local.get $i64a call $several drop drop
                    local.get $i64a call $tail drop local.get $i32a local.get $i64a call $tail_in
                    drop drop local.get $i32a call $tail_host drop call $tail_table call $tail_ref
                    local.get $r call $same global.set $refg global.get $refg ref.is_null drop
                    (block (result externref) local.get $r br_on_null 1 br 0) drop
                    (block (result funcref) ref.func $leaf br_on_non_null 0 ref.null func) drop
                    local.get $r ref.as_non_null drop
                    i32.const 1 local.get $r table.set $refs i32.const 1 table.get $refs drop
                    i32.const 0 table.get $funcs ref.is_null drop
                    table.size $refs drop ref.null extern i32.const 0 table.grow $refs drop
                    i32.const 0 local.get $r i32.const 2 table.fill $refs
                    i32.const 0 i32.const 1 i32.const 2 table.copy $refs $refs
                    i32.const 3 i32.const 0 i32.const 0 table.init $funcs $elem
                    memory.size drop i32.const 0 memory.grow drop
                    i64.const 0 memory.grow $wide drop
                    i32.const 0 i32.const 1 i32.const 9 memory.copy
                    i32.const 0 i32.const 1 i32.const 9 memory.fill
                    i32.const 0 i32.const 0 i32.const 0 memory.init $data
                    (block (block (block local.get $k br_table 0 1 2 0)))
                    (block (result i32) i32.const 3 i32.const 5 local.get $k br_table 0 0) drop
                    (loop (result i32) local.get $k i32.const 1 i32.add local.tee $k
                        i32.const 3 i32.rem_u br_if 0 i32.const 4) drop
                    local.get $n i32.const 1 i32.sub local.tee $n br_if $again
                end
                data.drop $data elem.drop $elem))"#
    )
}

#[test]
fn tail_calls_do_not_grow_the_stack() {
    let text = everything();
    for fuel in [false, true] {
        let engine = engine_with(Kind::TailCall, |config: &mut Config| {
            config.consume_fuel(fuel);
        });
        assert_eq!(engine.dispatcher(), Dispatch::TailCall);
        let mut linker = Linker::<()>::new(&engine);
        linker.func_wrap("h", "nothing", |x: i32| x).expect("a definition");
        let mut store = store(&engine);
        let other = "(module (func (export \"other\") (param i64) (result i64) local.get 0))";
        let other = link(&linker, &mut store, other);
        linker.instance(&mut store, "o", other).expect("a definition");
        let instance = link(&linker, &mut store, &text);
        let value = palisade::ExternRef::new(&mut store, ()).expect("a reference");
        let run = instance.get_func(&store, "run").expect("an export");
        let args = move |n| [Val::I32(n), Ref::from(value).into()];
        // Translated here; there is no room for that below.
        assert_eq!(call(&mut store, run, &args(1)), Ok(vec![]));
        // Eight bytes for each instruction would be more than a gigabyte.
        let rounds = if fuel { 20_000 } else { 100_000 };
        let (outcome, fuel_used) = on_small_stack(128, move || {
            (call(&mut store, run, &args(rounds)), store.fuel_consumed())
        });
        assert_eq!(outcome, Ok(vec![]));
        // It really went round.
        assert!(fuel_used.is_none_or(|units| units > rounds as u64 * 1_000), "{fuel_used:?}");
    }
}
