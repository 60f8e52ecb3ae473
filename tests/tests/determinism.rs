//! Runs that are alike to the bit: NaNs, relaxed vector operators, whole programs, in every engine and twice.
//!
//! What is canonical is judged by a list of operators that is written out here, after the specification, and not taken
//! from either engine.

#[path = "determinism_support/mod.rs"]
mod support;

use palisade::{Config, Engine, Linker, MemoryType, Module, SharedMemory, Store, Val};
use palisade_tests::{ENGINES, Kind, engine_with, module};

use support::nans::{Program, is_canonical_or_no_nan};
use support::programs;

/// An engine that is deterministic and metered.
fn deterministic(kind: Kind) -> Engine {
    engine_with(kind, |config| {
        config.deterministic(true).call_depth(None).consume_fuel(true).max_wasm_stack(64 << 20);
    })
}

/// Memory and fuel after a call of `run`.
fn outcome(engine: &Engine, wat: &str, rounds: i32) -> (Vec<u8>, u64) {
    let module = module(engine, wat);
    let mut store = Store::new(engine, ());
    store.set_fuel(1 << 40).expect("metered");
    let instance = Linker::new(engine).instantiate(&mut store, &module).expect("no imports");
    let run = instance.get_func(&mut store, "run").expect("exported");
    run.call(&mut store, &[Val::I32(rounds)], &mut []).expect("nothing in it traps");
    let memory = instance.get_memory(&mut store, "memory").expect("exported");
    (memory.data(&store).to_vec(), store.fuel_consumed().expect("metered"))
}

#[test]
fn programs_full_of_nans_leave_the_same_memory_and_fuel_in_every_engine() {
    let mut nans = 0;
    for seed in 0..60 {
        let program = Program::new(seed);
        let text = program.text();
        let expected = outcome(&deterministic(Kind::Loop), &text, 3);
        for kind in ENGINES {
            let found = outcome(&deterministic(kind), &text, 3);
            assert!(
                found.0 == expected.0,
                "seed {seed}, {kind:?}: {}",
                program.difference(&expected.0, &found.0)
            );
            assert_eq!(found.1, expected.1, "seed {seed}, {kind:?}: fuel");
        }
        nans += program.check(&expected.0);
    }
    assert!(nans > 2_000, "only {nans} NaNs were made");
    println!("60 programs in {} engines; {nans} NaNs, all canonical", ENGINES.len());
}

#[test]
fn canonical_nans_alone_hold_in_every_engine() {
    for kind in ENGINES {
        let engine = engine_with(kind, |config| {
            config.canonical_nans(true);
        });
        for (op, args) in [
            ("f32.add", "(f32.reinterpret_i32 (i32.const 0xffa12345)) (f32.const 1)"),
            ("f32.div", "(f32.const -0) (f32.const 0)"),
            ("f32.sqrt", "(f32.const -1)"),
            ("f32.nearest", "(f32.reinterpret_i32 (i32.const 0x7f812345))"),
            ("f32.demote_f64", "(f64.reinterpret_i64 (i64.const 0xfff4000000000001))"),
        ] {
            let wat = format!(
                "(module (func (export \"f\") (result i32) (i32.reinterpret_f32 ({op} {args}))))"
            );
            let mut store = Store::new(&engine, ());
            let instance = Linker::new(&engine)
                .instantiate(&mut store, &module(&engine, &wat))
                .expect("links");
            let f = instance.get_typed_func::<(), i32>(&mut store, "f").expect("exported");
            for _ in 0..3 {
                assert_eq!(f.call(&mut store, ()).expect("returns"), 0x7fc0_0000, "{kind:?}: {op}");
            }
        }
    }
}

/// The judge itself: without canonical NaNs, it has something to say.
#[test]
fn without_canonical_nans_others_come_out() {
    let engine = engine_with(Kind::Loop, |config| {
        config.consume_fuel(true);
    });
    let other = (0..20).any(|seed| {
        let program = Program::new(seed);
        let (memory, _) = outcome(&engine, &program.text(), 3);
        program.results(&memory).any(|(made, bytes)| !is_canonical_or_no_nan(made, bytes))
    });
    assert!(other);
}

#[test]
fn modules_with_shared_memories_are_refused_and_atomics_are_not() {
    for kind in ENGINES {
        let engine = deterministic(kind);
        for wat in [
            "(module (memory 1 2 shared))",
            "(module (memory 1) (import \"a\" \"b\" (memory 1 2 shared)))",
            "(module (import \"a\" \"b\" (memory 1 2 shared)))",
        ] {
            let Err(error) = Module::new(&engine, wat) else {
                // Imports come before definitions.
                assert!(wat::parse_str(wat).is_err(), "{kind:?}: {wat}");
                continue;
            };
            if wat::parse_str(wat).is_ok() {
                assert!(error.to_string().contains("--deterministic"), "{error}");
            }
        }
        let wat = "(module (memory (export \"memory\") 1) (func (export \"run\") (param i32)
            (drop (i32.atomic.rmw.add (i32.const 0) (local.get 0)))))";
        assert_eq!(outcome(&engine, wat, 7).0[0], 7);
        let error = SharedMemory::new(&engine, MemoryType::shared(1, 2)).expect_err("refused");
        assert!(error.to_string().contains("deterministic"), "{error}");
    }
    let mut config = Config::new();
    assert!(
        Module::new(
            &Engine::new(config.deterministic(false)).expect("valid"),
            "(module (memory 1 2 shared))"
        )
        .is_ok()
    );
}

#[test]
fn recursion_ends_at_the_same_call_in_every_engine() {
    let wat = "(module (memory (export \"memory\") 1) (global $n (mut i32) (i32.const 0))
        (func $down (param i32) (result i32)
          (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
          (i32.add (call $down (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))
        (func (export \"run\") (param i32) (drop (call $down (i32.const 0)))))";
    let mut found = Vec::new();
    for kind in ENGINES {
        let engine = deterministic(kind);
        let mut store = Store::new(&engine, ());
        store.set_fuel(1 << 40).expect("metered");
        let instance =
            Linker::new(&engine).instantiate(&mut store, &module(&engine, wat)).expect("links");
        let run = instance.get_func(&mut store, "run").expect("exported");
        let error = run.call(&mut store, &[Val::I32(0)], &mut []).expect_err("it never ends");
        let memory = instance.get_memory(&mut store, "memory").expect("exported");
        let depth: [u8; 4] = memory.data(&store)[..4].try_into().expect("four bytes");
        found.push((u32::from_le_bytes(depth), error.trap_code(), store.fuel_consumed()));
    }
    assert!(found.iter().all(|end| *end == found[0]), "{found:?}");
    assert_eq!(u64::from(found[0].0) + 1, palisade::DETERMINISTIC_CALL_DEPTH);
}

#[test]
fn real_programs_are_alike_in_every_engine_and_every_time() {
    programs::own(&deterministic);
}

#[test]
fn other_peoples_programs_are_alike_in_every_engine() {
    programs::corpus(&deterministic);
}
