//! Guests that are looked at while they run: what is seen is what they do, and they do the same as if nobody looked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use palisade::{
    Caller, Engine, GuestProfile, GuestProfiler, InterruptHandle, Linker, Store, TrapCode, Val,
};
use palisade_tests::{ENGINES, engine, instance, link, metered_engine};

const OFTEN: Duration = Duration::from_micros(100);

/// Lines of text: functions from the outermost inwards, and how many samples.
fn folded(profile: &GuestProfile) -> Vec<(Vec<String>, u64)> {
    let mut text = Vec::new();
    profile.write_folded(&mut text).unwrap();
    let line = |line: &str| {
        let (path, count) = line.rsplit_once(' ').unwrap();
        (path.split(';').map(str::to_owned).collect(), count.parse().unwrap())
    };
    String::from_utf8(text).unwrap().lines().map(line).collect()
}

/// Functions alone, without what stands for times without polls.
fn functions(path: &[String]) -> Vec<&str> {
    path.iter().map(String::as_str).filter(|name| !name.starts_with('[')).collect()
}

const NESTED: &str = r#"(module
    (import "host" "again" (func $host (param i32) (result i32)))
    (func $spin (param i32) (result i32) (local $sum i32)
        (loop $turn
            (local.set $sum (i32.add (i32.mul (local.get $sum) (i32.const 7)) (local.get 0)))
            (br_if $turn (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (local.get $sum))
    (func $recurse (param i32) (result i32)
        (if (result i32) (i32.eqz (local.get 0))
            (then (i32.const 1))
            (else (i32.add (call $recurse (i32.sub (local.get 0) (i32.const 1)))
                           (i32.const 1)))))
    (func $inner (export "inner") (param i32) (result i32) (local $left i32)
        (local.set $left (i32.const 200000))
        (loop $turn
            (drop (call $recurse (i32.const 20)))
            (br_if $turn (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
        (i32.add (call $spin (local.get 0)) (i32.const 1)))
    (func $outer (export "outer") (param i32) (result i32)
        (i32.add (call $host (local.get 0)) (i32.const 1))))"#;

/// Calls of a guest through the host to a guest, in every engine and wherever the engine changes: whole stacks.
#[test]
fn stacks_are_whole_through_every_engine_and_the_host() {
    for kind in ENGINES {
        let engine = engine(kind);
        let mut linker: Linker<()> = Linker::new(&engine);
        linker
            .func_wrap("host", "again", |mut caller: Caller<'_, ()>, n: i32| {
                let inner = caller.get_export("inner").and_then(|inner| inner.into_func());
                let inner = inner.expect("the guest exports it");
                inner.typed::<i32, i32>(&caller)?.call(&mut caller, n)
            })
            .unwrap();
        let mut store = Store::new(&engine, ());
        let profiler = GuestProfiler::start(OFTEN).unwrap();
        store.set_profiler(Some((&profiler, "nested")));
        let instance = link(&linker, &mut store, NESTED);
        let outer = instance.get_typed_func::<i32, i32>(&mut store, "outer").unwrap();
        let mut results = Vec::new();
        for _ in 0..3 {
            results.push(outer.call(&mut store, 3_000_000).unwrap());
        }
        assert!(results.iter().all(|result| *result == results[0]));
        let profile = profiler.finish();
        let lines = folded(&profile);
        let mut seen = (0, 0);
        for (path, count) in &lines {
            let path = functions(path);
            let allowed = match path.as_slice() {
                ["outer"] | ["outer", "inner"] => true,
                ["outer", "inner", "spin"] => {
                    seen.0 += count;
                    true
                }
                ["outer", "inner", deep @ ..] => {
                    seen.1 += count;
                    deep.len() <= 21 && deep.iter().all(|name| *name == "recurse")
                }
                _ => false,
            };
            assert!(allowed, "{kind:?}: {path:?}");
        }
        assert!(seen.0 > 0 && seen.1 > 0, "{kind:?}: {lines:?}");
        assert_eq!(lines.iter().map(|(_, count)| count).sum::<u64>(), profile.samples());
        assert_eq!(profile.dropped(), 0);
    }
}

/// Asks as fast as it can, until it is dropped.
struct Nosy(Arc<AtomicBool>, Option<std::thread::JoinHandle<u64>>);

impl Nosy {
    fn about(handle: InterruptHandle) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let seen = over.clone();
        let (begun, wait) = std::sync::mpsc::channel();
        let ask = move || {
            let mut asked = 0;
            while !seen.load(Ordering::Relaxed) {
                asked += u64::from(handle.request_sample());
                let _ = begun.send(());
                std::thread::yield_now();
            }
            asked
        };
        let thread = std::thread::spawn(ask);
        wait.recv().unwrap();
        Self(over, Some(thread))
    }

    fn end(&mut self) -> u64 {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().map_or(0, |thread| thread.join().unwrap())
    }
}

const BUSY: &str = r#"(module
    (type $pick (func (param i32) (result i32)))
    (table funcref (elem $triple $half))
    (global $calls (mut i32) (i32.const 0))
    (memory 1)
    (func $triple (param i32) (result i32)
        (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (i32.add (i32.mul (local.get 0) (i32.const 3)) (i32.const 1)))
    (func $half (param i32) (result i32)
        (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (i32.shr_u (local.get 0) (i32.const 1)))
    (func $steps (param i32 i32) (result i32)
        (if (result i32) (i32.eq (local.get 0) (i32.const 1))
            (then (local.get 1))
            (else (return_call $steps
                (call_indirect (type $pick) (local.get 0)
                    (i32.eqz (i32.and (local.get 0) (i32.const 1))))
                (i32.add (local.get 1) (i32.const 1))))))
    (func (export "run") (param i32) (result i32) (local $sum i32) (local $i i32)
        (loop $turn
            (block $odd (block $even
                (br_table $even $odd (i32.and (local.get $i) (i32.const 1))))
                (local.set $sum (i32.add (local.get $sum) (i32.const 5))))
            (i32.store8 (i32.and (local.get $i) (i32.const 65535)) (local.get $sum))
            (local.set $sum (i32.add (local.get $sum)
                (call $steps (i32.add (local.get $i) (i32.const 1)) (i32.const 0))))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $turn (i32.lt_u (local.get $i) (local.get 0))))
        (i32.xor (local.get $sum) (global.get $calls)))
    (func $deep (export "deep") (param i32) (result i32)
        (i32.add (call $deep (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))
    (func (export "endless") (loop $turn (br $turn))))"#;

fn busy(engine: &Engine, nosy: bool) -> (i32, u64) {
    let (mut store, instance) = instance(engine, BUSY);
    store.set_fuel(u64::MAX >> 2).unwrap();
    let mut asking = nosy.then(|| Nosy::about(store.interrupt_handle()));
    let run = instance.get_typed_func::<i32, i32>(&mut store, "run").unwrap();
    let result = run.call(&mut store, 5000).unwrap();
    if let Some(asking) = &mut asking {
        assert!(asking.end() > 0);
    }
    (result, store.fuel_consumed().unwrap())
}

/// Every kind of poll, of call and of branch, stopped at as often as it can be.
#[test]
fn results_and_fuel_are_the_same_however_often_somebody_looks() {
    let expected = busy(&metered_engine(ENGINES[0]), false);
    for kind in ENGINES {
        assert_eq!(busy(&metered_engine(kind), true), expected, "{kind:?}");
    }
}

#[test]
fn s1_recursion_still_ends_at_the_stacks_end_while_somebody_looks() {
    for kind in ENGINES {
        let (mut store, instance) = instance(&engine(kind), BUSY);
        let mut asking = Nosy::about(store.interrupt_handle());
        let deep = instance.get_func(&mut store, "deep").unwrap();
        for _ in 0..20 {
            let error = deep.call(&mut store, &[Val::I32(0)], &mut [Val::I32(0)]).unwrap_err();
            assert_eq!(error.trap_code(), Some(TrapCode::StackOverflow), "{kind:?}");
        }
        asking.end();
    }
}

#[test]
fn x1_a_guest_that_is_looked_at_still_ends_when_it_should() {
    for kind in ENGINES {
        let (mut store, instance) = instance(&engine(kind), BUSY);
        let profiler = GuestProfiler::start(OFTEN).unwrap();
        store.set_profiler(Some((&profiler, "endless")));
        let mut asking = Nosy::about(store.interrupt_handle());
        let endless = instance.get_func(&mut store, "endless").unwrap();
        store.set_timeout(Some(Duration::from_millis(30))).unwrap();
        let error = endless.call(&mut store, &[], &mut []).unwrap_err();
        assert_eq!(error.trap_code(), Some(TrapCode::DeadlineExceeded), "{kind:?}");
        store.set_timeout(None).unwrap();
        let handle = store.interrupt_handle();
        let stop = std::thread::spawn(move || handle.interrupt(TrapCode::Interrupted));
        let error = endless.call(&mut store, &[], &mut []).unwrap_err();
        assert_eq!(error.trap_code(), Some(TrapCode::Interrupted), "{kind:?}");
        stop.join().unwrap();
        asking.end();
        // What asked last goes away with the request.
        store.interrupt_handle().clear();
        assert!(profiler.finish().samples() > 0, "{kind:?}");
    }
}

#[test]
fn two_stores_are_two_threads_of_a_profile_and_a_store_may_go_first() {
    let engine = engine(ENGINES[2]);
    let profiler = GuestProfiler::start(OFTEN).unwrap();
    std::thread::scope(|scope| {
        for name in ["first", "second"] {
            let (engine, profiler) = (&engine, &profiler);
            scope.spawn(move || {
                let (mut store, instance) = instance(engine, BUSY);
                store.set_profiler(Some((profiler, name)));
                let run = instance.get_typed_func::<i32, i32>(&mut store, "run").unwrap();
                run.call(&mut store, 30_000).unwrap();
            });
        }
    });
    let profile = profiler.finish();
    let lines = folded(&profile);
    for name in ["first", "second"] {
        assert!(lines.iter().any(|(path, _)| path[0] == name && path.len() > 1), "{lines:?}");
    }
    let mut json = Vec::new();
    profile.write_firefox(&mut json).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let names: Vec<_> = json["threads"].as_array().unwrap().iter().map(|t| &t["name"]).collect();
    assert_eq!(names.len(), 2);
    assert!(names.contains(&&"first".into()) && names.contains(&&"second".into()));
}
