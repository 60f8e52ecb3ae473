//! X1, X2, X14: whatever a guest does, fuel, a deadline and another thread can end it, and no input
//! costs more than in proportion to its length.

mod hostile_support;

use std::fmt::Write;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use hostile_support::{engine_with, engines, invoke, store};
use palisade::{Engine, Instance, InterruptHandle, Linker, Module, Resource, Store, TrapCode, Val};
use palisade_tests::{ENGINES, Kind, link, module};

/// Bodies of functions that never end by themselves; `$leaf` does nothing and gives nothing.
const ENDLESS: [(&str, &str); 20] = [
    ("br", "loop br 0 end"),
    ("br_if", "loop i32.const 1 br_if 0 end"),
    (
        "compare",
        "loop local.get 0 i32.const 1 i32.add local.tee 0 i32.const 0 i32.ne br_if 0 br 0 end",
    ),
    ("count", "loop local.get 1 i64.const 1 i64.add local.tee 1 i64.const -1 i64.ne br_if 0 end"),
    ("br_table", "loop i32.const 5 br_table 0 0 end"),
    ("br_on_null", "loop ref.null func br_on_null 0 drop end"),
    ("br_on_non_null", "ref.null func (loop (param funcref) drop ref.func $leaf br_on_non_null 0)"),
    ("float", "loop f64.const nan f64.const nan f64.lt i32.eqz br_if 0 end"),
    ("nested", "loop loop local.get 0 i32.eqz br_if 1 br 0 end end"),
    ("call", "loop call $leaf br 0 end"),
    ("call_indirect", "loop i32.const 0 call_indirect br 0 end"),
    ("call_ref", "loop ref.func $leaf call_ref $t br 0 end"),
    ("host", "loop call $nothing br 0 end"),
    ("host_indirect", "loop i32.const 1 call_indirect br 0 end"),
    ("tail_call", "return_call $round"),
    ("tail_call_indirect", "i32.const 2 return_call_indirect"),
    ("tail_call_ref", "ref.func $to return_call_ref $t"),
    ("tree", "i32.const 60 call $tree"),
    ("grow", "loop i32.const 0 memory.grow drop br 0 end"),
    ("bulk", "loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536)) br 0 end"),
];

/// A module that tells the host when it begins, and then runs one of these.
fn endless(body: &str) -> String {
    format!(
        r#"(module (type $t (func))
        (import "h" "begin" (func $begin)) (import "h" "nothing" (func $nothing))
        (memory 1) (table funcref (elem $leaf $nothing $to))
        (elem declare func $leaf $to)
        (func $leaf)
        (func $round call $leaf return_call $back) (func $back return_call $round)
        (func $to i32.const 2 return_call_indirect)
        (func $tree (param i32)
            local.get 0 i32.eqz if return end
            local.get 0 i32.const 1 i32.sub call $tree
            local.get 0 i32.const 1 i32.sub call $tree)
        (func (export "run") (local i32 i64) call $begin {body})
        (func (export "fine") (result i32) i32.const 8))"#
    )
}

type Begin = Option<mpsc::Sender<()>>;

fn prepare(engine: &Engine, body: &str) -> (Store<Begin>, Instance) {
    let mut linker = Linker::<Begin>::new(engine);
    linker
        .func_wrap("h", "begin", |caller: palisade::Caller<'_, Begin>| {
            if let Some(sender) = caller.data() {
                let _ = sender.send(());
            }
        })
        .expect("a definition");
    linker.func_wrap("h", "nothing", || {}).expect("a definition");
    let mut store = Store::new(engine, None);
    let _ = store.set_fuel(i64::MAX as u64);
    let instance = link(&linker, &mut store, &endless(body));
    (store, instance)
}

#[test]
fn x1_fuel_ends_every_endless_program() {
    for (name, body) in ENDLESS {
        let mut left = Vec::new();
        for kind in ENGINES {
            let engine = engine_with(kind, |config| {
                config.consume_fuel(true);
            });
            let (mut store, instance) = prepare(&engine, body);
            store.set_fuel(3_000_000).expect("metered");
            assert_eq!(
                invoke(&mut store, instance, "run", &[]),
                Err(TrapCode::OutOfFuel),
                "{name}"
            );
            left.push(store.get_fuel().expect("metered"));
            assert_eq!(invoke(&mut store, instance, "fine", &[]), Err(TrapCode::OutOfFuel));
            store.set_fuel(100).expect("metered");
            assert_eq!(invoke(&mut store, instance, "fine", &[]), Ok(vec![8]), "{name}");
            left.push(store.get_fuel().expect("metered"));
        }
        assert!(left.chunks(2).all(|pair| pair == [0, 98]), "{name}: {left:?}");
    }
}

#[test]
fn x1_a_deadline_ends_every_endless_program() {
    for (name, body) in ENDLESS {
        for engine in engines() {
            let (mut store, instance) = prepare(&engine, body);
            store.set_timeout(Some(Duration::from_millis(5))).expect("a timer");
            let outcome = invoke(&mut store, instance, "run", &[]);
            assert_eq!(outcome, Err(TrapCode::DeadlineExceeded), "{name}");
            // It stays past until another one is set.
            let outcome = invoke(&mut store, instance, "fine", &[]);
            assert_eq!(outcome, Err(TrapCode::DeadlineExceeded), "{name}");
            store.set_timeout(None).expect("none");
            assert_eq!(invoke(&mut store, instance, "fine", &[]), Ok(vec![8]), "{name}");
        }
    }
}

#[test]
fn x1_another_thread_ends_every_endless_program() {
    for (name, body) in ENDLESS {
        for engine in engines() {
            let (mut store, instance) = prepare(&engine, body);
            let handle = store.interrupt_handle();
            let stopper = interrupt_when_begun(&mut store, handle.clone());
            let outcome = invoke(&mut store, instance, "run", &[]);
            stopper.join().expect("no panic");
            assert_eq!(outcome, Err(TrapCode::Interrupted), "{name}");
            assert_eq!(handle.pending(), Some(TrapCode::Interrupted));
            handle.clear();
            assert_eq!(invoke(&mut store, instance, "fine", &[]), Ok(vec![8]), "{name}");
        }
    }
}

fn interrupt_when_begun(
    store: &mut Store<Begin>,
    handle: InterruptHandle,
) -> std::thread::JoinHandle<()> {
    let (sender, receiver) = mpsc::channel();
    *store.data_mut() = Some(sender);
    std::thread::spawn(move || {
        receiver.recv().expect("the guest begins");
        handle.interrupt(TrapCode::Interrupted);
    })
}

/// A start function that never ends, and one that recurses through the host.
#[test]
fn x1_a_start_function_is_stopped_like_any_other() {
    let text = "(module (start $f) (func $f loop br 0 end))";
    for kind in ENGINES {
        let engine = engine_with(kind, |config| {
            config.consume_fuel(true);
        });
        let module = module(&engine, text);
        let mut store = Store::new(&engine, ());
        store.set_fuel(10_000).expect("metered");
        let error = Instance::new(&mut store, &module, &[]).expect_err("it never ends");
        assert_eq!(error.trap_code(), Some(TrapCode::OutOfFuel));
        store.set_fuel(u64::MAX).expect("metered");
        store.set_timeout(Some(Duration::from_millis(5))).expect("a timer");
        let error = Instance::new(&mut store, &module, &[]).expect_err("it never ends");
        assert_eq!(error.trap_code(), Some(TrapCode::DeadlineExceeded));
    }
}

const BULK: &str = r#"(module
    (import "h" "begin" (func $begin))
    (memory (export "m") 65536) (memory $n 65536)
    (table $t (export "t") 100000000 funcref) (table $u 100000000 funcref) (data $d "x")
    (func (export "fill") call $begin
        (memory.fill (i32.const 1) (i32.const 9) (i32.const -1)))
    (func (export "copy") call $begin
        (memory.copy (i32.const 0) (i32.const 1) (i32.const -1)))
    (func (export "copy_back") call $begin
        (memory.copy (i32.const 1) (i32.const 0) (i32.const -1)))
    (func (export "across") call $begin
        (memory.copy $n 0 (i32.const 0) (i32.const 0) (i32.const -1)))
    (func (export "table_fill") call $begin
        (table.fill $t (i32.const 0) (ref.func $f) (i32.const 100000000)))
    (func (export "table_copy") call $begin
        (table.copy $t $t (i32.const 0) (i32.const 1) (i32.const 99999999)))
    (func (export "table_across") call $begin
        (table.copy $u $t (i32.const 0) (i32.const 0) (i32.const 100000000)))
    (func (export "table_grow") call $begin
        (drop (table.grow $t (ref.func $f) (i32.const 2000000000))))
    (elem declare func $f) (func $f)
    (func (export "fine") (result i32) i32.const 8))"#;

const BULK_NAMES: [&str; 7] =
    ["fill", "copy", "copy_back", "across", "table_fill", "table_copy", "table_across"];

fn bulk(engine: &Engine) -> (Store<Begin>, Instance) {
    let mut linker = Linker::<Begin>::new(engine);
    linker
        .func_wrap("h", "begin", |caller: palisade::Caller<'_, Begin>| {
            if let Some(sender) = caller.data() {
                let _ = sender.send(());
            }
        })
        .expect("a definition");
    let mut store = Store::new(engine, None);
    let _ = store.set_fuel(i64::MAX as u64);
    let instance = link(&linker, &mut store, BULK);
    (store, instance)
}

#[test]
fn x2_bulk_work_is_paid_for_by_length_before_it_starts() {
    for kind in ENGINES {
        let engine = engine_with(kind, |config| {
            config.consume_fuel(true);
        });
        for name in BULK_NAMES.into_iter().chain(["table_grow"]) {
            let (mut store, instance) = bulk(&engine);
            let memory = instance.get_memory(&store, "m").expect("a memory");
            memory.write(&mut store, 0, &[3]).expect("room");
            // 4 GiB are 2^26 pieces of 64 bytes, 10^8 elements 12,500,000 pieces of 8.
            store
                .set_fuel(if name.contains("table") { 12_499_000 } else { (1 << 26) - 1 })
                .expect("metered");
            let outcome = invoke(&mut store, instance, name, &[]);
            let refused = outcome == Ok(vec![]) && name == "table_grow";
            assert!(outcome == Err(TrapCode::OutOfFuel) || refused, "{name}: {outcome:?}");
            assert_eq!(memory.data(&store)[..2], [3, 0], "{name}");
            let table = instance.get_table(&store, "t").expect("a table");
            assert!(table.get(&mut store, 0).expect("an element").is_null());
        }
    }
}

#[test]
fn x2_bulk_work_is_interrupted_in_its_middle() {
    for kind in ENGINES {
        let engine = engine_with(kind, |_| {});
        for name in BULK_NAMES {
            let (mut store, instance) = bulk(&engine);
            let handle = store.interrupt_handle();
            let (sender, receiver) = mpsc::channel();
            *store.data_mut() = Some(sender);
            let stopper = std::thread::spawn({
                let handle = handle.clone();
                move || {
                    receiver.recv().expect("the guest begins");
                    handle.interrupt(TrapCode::Interrupted);
                    Instant::now()
                }
            });
            let outcome = invoke(&mut store, instance, name, &[]);
            let asked = stopper.join().expect("no panic");
            assert_eq!(outcome, Err(TrapCode::Interrupted), "{name}");
            // Generous: what is meant is that nobody waits for gigabytes.
            assert!(asked.elapsed() < Duration::from_secs(2), "{name}: {:?}", asked.elapsed());
            handle.clear();
            assert_eq!(invoke(&mut store, instance, "fine", &[]), Ok(vec![8]), "{name}");
        }
    }
}

/// Names that share all but their last characters, in numbers at which anything quadratic would never
/// end.
#[test]
fn x14_very_many_similar_names_cost_in_proportion() {
    const COUNT: usize = 50_000;
    let name = |i: usize| format!("{}{i:06}", "a".repeat(40));
    let mut text = String::from("(module");
    for i in 0..COUNT {
        let _ = write!(text, "(import \"{0}\" \"{0}\" (func))", name(i));
    }
    for i in 0..COUNT {
        let _ = write!(text, "(export \"{}\" (func {i}))", name(i));
    }
    text.push(')');
    let engine = engine_with(Kind::Loop, |_| {});
    let module = module(&engine, &text);
    let mut linker = Linker::<()>::new(&engine);
    for i in 0..COUNT {
        linker.func_wrap(&name(i), &name(i), || {}).expect("a definition");
    }
    let mut store = store(&engine);
    let instance = linker.instantiate(&mut store, &module).expect("instantiation");
    for i in 0..COUNT {
        assert!(instance.get_func(&store, &name(i)).is_some());
        assert!(instance.get_func(&store, &name(i + COUNT)).is_none());
    }
    assert_eq!(instance.exports(&store).count(), COUNT);
}

/// Types that differ in one place only, again and again in one engine.
#[test]
fn x14_very_many_similar_types_cost_in_proportion() {
    let mut text = String::from("(module");
    for i in 0..20_000u32 {
        text += "(type (func (param i32 i32 i32 i32 i32 i32 i32 i32";
        for bit in 0..15 {
            text += if i >> bit & 1 == 0 { " f32" } else { " f64" };
        }
        text += ")))";
    }
    for i in 0..2_000 {
        let _ = write!(text, "(rec (type (func)) (type (func (param (ref null {}))))", i + 20_000);
        text.push(')');
    }
    text.push(')');
    let engine = engine_with(Kind::Loop, |_| {});
    let mut kept = Vec::new();
    for _ in 0..5 {
        kept.push(module(&engine, &text));
    }
    drop(kept);
    module(&engine, &text);
}

/// A function with many results, many parameters, or branches that carry many values, over and over:
/// what is made of it stays in proportion to it, or it is refused.
#[test]
fn x10_code_that_could_grow_when_translated_does_not() {
    let thousand = " i64".repeat(1_000);
    let zeros = "i64.const 0 ".repeat(1_000);
    let branches = "local.get 0 br_if 0 ".repeat(30_000);
    let table: String = (0..3_000).fold(String::new(), |mut out, i| {
        let _ = write!(out, "{i} ");
        out
    });
    let texts = [
        // Two thousand megabytes of moves, if each branch made them all.
        format!(
            "(module (type $r (func (result{thousand}))) (func (export \"f\") (param i32)
               block (type $r) i32.const 1 {zeros} {branches} return end {}))",
            "drop ".repeat(1_000)
        ),
        format!(
            "(module (type $r (func (result{thousand}))) (func (export \"f\") (param i32)
               {} i32.const 1 {zeros} local.get 0 br_table {table} {} {}))",
            "block (type $r) ".repeat(3_001),
            "end ".repeat(3_001),
            "drop ".repeat(1_000)
        ),
        format!(
            "(module (type $r (func (result{thousand}))) (func $g (type $r) {zeros})
               (func (export \"f\") (param i32) {} unreachable))",
            "call $g ".repeat(400)
        ),
    ];
    for engine in engines() {
        for text in &texts {
            let module = module(&engine, text);
            let mut store = store(&engine);
            store.set_resource_limit(Resource::HostBytes, Some(256 << 20));
            let instance = Instance::new(&mut store, &module, &[]).expect("instantiation");
            match invoke(&mut store, instance, "f", &[Val::I32(0)]) {
                Ok(_) => {}
                Err(TrapCode::StackOverflow | TrapCode::Unreachable | TrapCode::LimitExceeded) => {}
                Err(code) => panic!("{code:?}"),
            }
        }
    }
}

/// Nothing of a guest runs before it is asked to: neither by loading nor by looking at it.
#[test]
fn seen_loading_and_validating_run_no_start_function() {
    let engine = Engine::default();
    let text = "(module (start $f) (func $f (export \"f\") loop br 0 end))";
    let module = module(&engine, text);
    Module::validate(&engine, text.as_bytes()).expect("a valid module");
    assert_eq!(module.exports().count(), 1);
}
