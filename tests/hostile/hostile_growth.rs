//! X8, X13, L1: what a process holds for its guests stays within the limits, goes away with them, and
//! shows the next guest nothing.
//!
//! These look at the whole process, so they run one after the other.

mod hostile_support;

use std::sync::{Mutex, MutexGuard, PoisonError};

use hostile_support::{engine_with, engines, invoke, store};
use palisade::{
    Engine, ExternRef, Instance, Limits, Linker, Module, Ref, Resource, Store, TrapCode, Val,
};
use palisade_tests::{DISPATCHERS, ENGINES, link, module};

static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Mappings and resident KiB of this process.
fn process() -> (usize, usize) {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("proc").lines().count();
    let status = std::fs::read_to_string("/proc/self/status").expect("proc");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|text| text.trim().strip_suffix(" kB")).expect("a number");
    (maps, resident.parse().expect("a number"))
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("proc").count()
}

/// Holds a memory, a table, a start function, globals, segments; can recurse, trap and grow.
const GUEST: &str = r#"(module
    (memory (export "m") 2) (table (export "t") 100 funcref) (table $e 10 externref)
    (data (i32.const 10) "data") (elem (i32.const 1) func $f) (start $start)
    (global $g (mut i64) (i64.const 5))
    (func $start i32.const 70000 i32.const 7 i32.store)
    (func $f (export "f") (param i32) (result i32) (local i64 i64 i64)
        local.get 0 i32.eqz if i32.const 1 return end
        local.get 0 i32.const 1 i32.sub call $f)
    (func (export "grow") (drop (memory.grow (i32.const 3)))
        (drop (table.grow $e (ref.null extern) (i32.const 100))))
    (func (export "trap") unreachable))"#;

fn once(engine: &Engine, module: &Module, round: u64) {
    let mut store = Store::new(engine, ());
    let _ = store.set_fuel(1_000_000);
    let instance = Instance::new(&mut store, module, &[]).expect("instantiation");
    match round % 8 {
        0 => assert_eq!(invoke(&mut store, instance, "trap", &[]), Err(TrapCode::Unreachable)),
        1 => assert_eq!(invoke(&mut store, instance, "grow", &[]), Ok(vec![])),
        2 => {
            let outcome = invoke(&mut store, instance, "f", &[Val::I32(-1)]);
            assert_eq!(outcome, Err(TrapCode::StackOverflow));
        }
        3 => {
            store.set_timeout(Some(std::time::Duration::from_secs(3600))).expect("a timer");
            assert_eq!(invoke(&mut store, instance, "f", &[Val::I32(9)]), Ok(vec![1]));
        }
        _ => {}
    }
}

#[test]
fn x13_a_hundred_thousand_instantiations_leave_nothing_behind() {
    let _alone = alone();
    for kind in ENGINES {
        let engine = engine_with(kind, |config| {
            config.max_wasm_stack(64 << 10);
        });
        let module = module(&engine, GUEST);
        let fails = palisade_tests::module(
            &engine,
            "(module (memory 1) (table 10 funcref) (data (i32.const 65535) \"xx\"))",
        );
        let rounds = |from: u64, to: u64| {
            for round in from..to {
                once(&engine, &module, round);
                if round % 16 == 0 {
                    let mut store = Store::new(&engine, ());
                    Instance::new(&mut store, &fails, &[]).expect_err("it does not fit");
                }
            }
        };
        rounds(0, 2_000);
        let (before, open) = (process(), descriptors());
        rounds(2_000, 50_000);
        let (after, open_after) = (process(), descriptors());
        assert!(after.0 <= before.0 + 8, "mappings: {before:?} {after:?}");
        assert!(after.1 <= before.1 + 4_096, "resident KiB: {before:?} {after:?}");
        assert_eq!(open, open_after, "descriptors");
    }
}

/// The same with a module, an engine, a linker and a limiter of their own each time.
#[test]
fn x13_engines_modules_and_linkers_leave_nothing_behind() {
    let _alone = alone();
    let rounds = |count: u64| {
        for round in 0..count {
            let engine = engine_with(ENGINES[round as usize % ENGINES.len()], |config| {
                config.consume_fuel(round % 3 == 0);
            });
            let module = module(&engine, GUEST);
            let mut linker = Linker::<()>::new(&engine);
            linker.func_wrap("h", "f", move |x: i64| x + round as i64).expect("a definition");
            once(&engine, &module, round);
            assert!(Module::new(&engine, "(module (func (result i32)))").is_err());
        }
    };
    rounds(300);
    let before = process();
    rounds(3_000);
    let after = process();
    assert!(after.0 <= before.0 + 8, "mappings: {before:?} {after:?}");
    assert!(after.1 <= before.1 + 8_192, "resident KiB: {before:?} {after:?}");
}

/// Memories, tables and instances of one store grow in every way until its caps; what the process holds
/// follows the caps.
#[test]
fn x8_a_store_full_of_memories_and_tables_stays_below_its_cap() {
    let _alone = alone();
    const CAP: u64 = 64 << 20;
    let text = r#"(module
        (memory $a 2) (memory $b 1) (memory $c i64 1)
        (table $t 100 funcref) (table $u 100 externref)
        (func $touch (param i32) (param i32)
            (memory.fill $a (local.get 0) (i32.const 1) (local.get 1)))
        (func (export "storm") (result i32) (local i32 i32)
            loop
                i32.const 1 memory.grow $a i32.const -1 i32.ne
                (if (then (memory.fill $a
                    (i32.sub (i32.shl (memory.size $a) (i32.const 16)) (i32.const 65536))
                    (i32.const 1) (i32.const 65536))))
                i32.const 3 memory.grow $b drop
                i64.const 1 memory.grow $c drop
                ref.null func i32.const 1000 table.grow $t drop
                ref.null extern i32.const 999 table.grow $u drop
                local.get 0 i32.const 1 i32.add local.tee 0 i32.const 2000 i32.lt_u br_if 0
            end
            memory.size $a))"#;
    for engine in engines() {
        let module = module(&engine, text);
        let before = process();
        let mut store = store(&engine);
        store.set_resource_limit(Resource::MemoryBytes, Some(CAP));
        store.set_resource_limit(Resource::TableElements, Some(100_000));
        store.set_resource_limit(Resource::Instances, Some(50));
        let mut instances = 0;
        while let Ok(instance) = Instance::new(&mut store, &module, &[]) {
            instances += 1;
            assert!(instances <= 50);
            invoke(&mut store, instance, "storm", &[]).expect("no trap");
            assert!(store.resource_use(Resource::MemoryBytes) <= CAP);
            assert!(store.resource_use(Resource::TableElements) <= 100_000);
        }
        assert!(instances >= 1);
        // All of it was reached, but for less than the largest step.
        assert!(store.resource_use(Resource::MemoryBytes) + (4 << 16) > CAP);
        assert!(store.resource_use(Resource::TableElements) + 1_000 > 100_000);
        let refusal = store.last_refusal().expect("there was one").to_string();
        assert!(refusal.contains("limit"), "{refusal}");
        let after = process();
        assert!(after.1 <= before.1 + (CAP as usize >> 10) + (16 << 10), "{before:?} {after:?}");
    }
}

const CANARY: i64 = 0x5EC2_E75E_C2E7_5EC3_u64 as i64;

/// Leaves the canary wherever a guest can.
fn tenant_a(engine: &Engine) {
    let text = r#"(module
        (memory (export "m") 4) (memory $w i64 4) (table $e (export "e") 1000 externref)
        (global (mut i64) (i64.const 0x5EC2E75EC2E75EC3))
        (func $f (export "f") (param i64) (param externref) (result i64)
            (local i64 i64 i64 i64 i64 i64 i64 externref externref)
            local.get 0 local.tee 2 local.tee 3 local.tee 4 local.tee 5 local.tee 6 local.tee 7
            local.set 8 local.get 1 local.tee 9 local.set 10
            local.get 0 local.get 1 call $f))"#;
    let mut store = store(engine);
    let instance = link(&Linker::new(engine), &mut store, text);
    let memory = instance.get_memory(&store, "m").expect("a memory");
    memory
        .data_mut(&mut store)
        .chunks_mut(8)
        .for_each(|c| c.copy_from_slice(&CANARY.to_le_bytes()));
    let value = ExternRef::new(&mut store, CANARY).expect("a reference");
    let table = instance.get_table(&store, "e").expect("a table");
    (0..1000).for_each(|i| table.set(&mut store, i, value.into()).expect("room"));
    let args = [Val::I64(CANARY), Ref::from(value).into()];
    assert_eq!(invoke(&mut store, instance, "f", &args), Err(TrapCode::StackOverflow));
}

#[test]
fn l1_nothing_of_a_tenant_is_left_for_the_next_one() {
    let _alone = alone();
    // Larger, smaller, growing, with data and without.
    let text = r#"(module
        (memory (export "m") 8) (memory $s (export "s") 1) (memory $w (export "w") i64 1)
        (table $e 1000 externref) (table $f 1000 funcref)
        (func (export "grow") (drop (memory.grow $s (i32.const 30)))
            (drop (memory.grow $w (i64.const 30))) (drop (table.grow $e (ref.null extern) (i32.const 5000))))
        (func (export "empty") (result i32) (local i32)
            loop
                local.get 0 table.get $e ref.is_null i32.eqz if i32.const 0 return end
                local.get 0 i32.const 1 i32.add local.tee 0 table.size $e i32.lt_u br_if 0
            end i32.const 1)
        (func $locals (export "locals") (param i32) (result i64)
            (local i64 i64 i64 i64 i64 i64 i64 i64 externref externref)
            local.get 0 if local.get 0 i32.const 1 i32.sub call $locals return end
            local.get 1 local.get 2 local.get 3 local.get 4 local.get 5 local.get 6 local.get 7 local.get 8
            i64.or i64.or i64.or i64.or i64.or i64.or i64.or
            local.get 9 ref.is_null local.get 10 ref.is_null i32.and i32.eqz i64.extend_i32_u i64.or)
        (func (export "past") (result i32) memory.size $s i32.const 16 i32.shl i32.load8_u $s))"#;
    let fails = "(module (memory 8) (data (i32.const 524287) \"xx\"))";
    for engine in engines() {
        for round in 0..20 {
            tenant_a(&engine);
            let mut store = store(&engine);
            if round % 3 == 0 {
                let fails = module(&engine, fails);
                Instance::new(&mut store, &fails, &[]).expect_err("it does not fit");
            }
            let instance = link(&Linker::new(&engine), &mut store, text);
            if round % 2 == 0 {
                assert_eq!(invoke(&mut store, instance, "grow", &[]), Ok(vec![]));
            }
            for name in ["m", "s", "w"] {
                let memory = instance.get_memory(&store, name).expect("a memory");
                let data = memory.data(&store);
                assert!(!data.is_empty() && data.iter().all(|byte| *byte == 0), "{name}");
            }
            assert_eq!(invoke(&mut store, instance, "empty", &[]), Ok(vec![1]));
            for depth in [0, 1, 100, 1000] {
                let outcome = invoke(&mut store, instance, "locals", &[Val::I32(depth)]);
                assert_eq!(outcome, Ok(vec![0]), "{depth}");
            }
            assert_eq!(invoke(&mut store, instance, "past", &[]), Err(TrapCode::MemoryOutOfBounds));
        }
    }
}

/// Two guests in one store share its stack: locals of the second are zero all the same.
#[test]
fn l1_locals_are_zero_on_a_stack_that_was_used() {
    let _alone = alone();
    let soil = r#"(module (func $f (export "f") (param i64 externref) (result i64)
        (local i64 i64 i64 externref externref)
        local.get 0 local.tee 2 local.tee 3 local.set 4 local.get 1 local.tee 5 local.set 6
        local.get 0 local.get 1 call $f))"#;
    for engine in engines() {
        for count in [1, 2, 7, 8, 9, 100, 3_000] {
            let mut store = store(&engine);
            let dirty = link(&Linker::new(&engine), &mut store, soil);
            let value = ExternRef::new(&mut store, CANARY).expect("a reference");
            let args = [Val::I64(-1), Ref::from(value).into()];
            let outcome = invoke(&mut store, dirty, "f", &args);
            assert_eq!(outcome, Err(TrapCode::StackOverflow));
            let gets: String = (0..count)
                .map(|i| format!("local.get {i} i64.or local.get {} ref.is_null i32.eqz i64.extend_i32_u i64.or ", count + i))
                .collect();
            let text = format!(
                "(module (func (export \"f\") (result i64) (local{}) (local{})
                   i64.const 0 {gets}))",
                " i64".repeat(count),
                " externref".repeat(count)
            );
            let clean = link(&Linker::new(&engine), &mut store, &text);
            assert_eq!(invoke(&mut store, clean, "f", &[]), Ok(vec![0]), "{count}");
        }
    }
}

/// Two bytes of a call push a thousand operands: 200 KB of them are 1.6 GB for whoever keeps a stack of
/// types, and 7 MB are more than the machine has. They are refused when the module is loaded.
#[test]
fn v4_operands_that_pile_up_are_refused_before_memory_is() {
    let _alone = alone();
    let text = format!(
        "(module (func $g (result{}) {}) (func (export \"f\") {} unreachable))",
        " i64".repeat(1_000),
        "i64.const 0 ".repeat(1_000),
        "call $g ".repeat(20_000)
    );
    let engine = engine_with(DISPATCHERS[0], |_| {});
    let error = Module::new(&engine, &text).expect_err("20,000,000 operands").to_string();
    assert!(error.contains("limit") && error.contains("operands"), "{error}");
}

/// An empty block of four bytes may take and give a thousand operands, which are all checked: what a module
/// may ask for of that is limited as a whole, however many functions it is in.
#[test]
fn v4_operands_that_are_checked_over_and_over_are_counted() {
    let numbers = " i64".repeat(1_000);
    let block = format!("block (param{numbers}) (result{numbers}) end ");
    let func =
        format!("(func (param{numbers}) (result{numbers}) unreachable {})", block.repeat(20));
    let text = format!("(module {})", func.repeat(10));
    for (limit, fits) in [(1_000_000, true), (700_000, false), (100_000, false)] {
        let engine = engine_with(DISPATCHERS[0], |config| {
            let mut limits = Limits::default();
            limits.operand_checks = limit;
            config.limits(limits);
        });
        let loaded = Module::new(&engine, &text);
        match loaded {
            Ok(_) => assert!(fits, "{limit}"),
            Err(error) => {
                let error = error.to_string();
                assert!(!fits && error.contains("--limit operand-checks="), "{limit}: {error}");
            }
        }
    }
}
