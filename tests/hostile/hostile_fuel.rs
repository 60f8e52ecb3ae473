//! Fuel is exact: the same in every engine, and the numbers that the documentation gives.

mod hostile_support;

use hostile_support::{engine_with, invoke, store};
use palisade::{Linker, TrapCode, Val};
use palisade_tests::{ENGINES, Kind, link, metered_engine};

/// Locals and body of a function of one `i32`, its argument, what calling it costs, and how it ends.
type Case = (&'static str, i32, u64, Result<(), TrapCode>);

const CASES: &[Case] = &[
    // Entering costs 1, structure and `drop` nothing, any operator 1.
    ("", 0, 1, Ok(())),
    ("nop nop block nop end", 0, 1, Ok(())),
    ("i32.const 1 drop", 0, 2, Ok(())),
    ("i32.const 1 i32.const 2 i32.add drop", 0, 4, Ok(())),
    ("return", 0, 2, Ok(())),
    // One for each 8 locals; parameters are none.
    ("(local i32 i32 i32 i32 i32 i32 i32)", 0, 1, Ok(())),
    ("(local i32 i32 i32 i32 i32 i32 i32 i64)", 0, 2, Ok(())),
    ("(local i32 f32 i64 i64 externref i32 funcref i32 i32 i32 i32 i32 i32 i32 i32)", 0, 2, Ok(())),
    (
        "(local i32 f32 i64 i64 externref i32 funcref i32 i32 i32 i32 i32 i32 i32 i32 i32)",
        0,
        3,
        Ok(()),
    ),
    // Five a turn.
    ("loop local.get 0 i32.const 1 i32.sub local.tee 0 br_if 0 end", 1, 6, Ok(())),
    ("loop local.get 0 i32.const 1 i32.sub local.tee 0 br_if 0 end", 10, 51, Ok(())),
    ("loop local.get 0 i32.const 1 i32.sub local.tee 0 br_if 0 end", 1000, 5001, Ok(())),
    // Only the arm that is taken.
    ("local.get 0 if i32.const 1 drop i32.const 2 drop else nop end", 1, 5, Ok(())),
    ("local.get 0 if i32.const 1 drop i32.const 2 drop else nop end", 0, 3, Ok(())),
    ("local.get 0 if i32.const 1 drop end i32.const 1 drop", 0, 4, Ok(())),
    ("local.get 0 if i32.const 1 drop end i32.const 1 drop", 7, 5, Ok(())),
    ("block local.get 0 br_if 0 i32.const 1 drop end", 1, 3, Ok(())),
    ("block local.get 0 br_if 0 i32.const 1 drop end", 0, 4, Ok(())),
    (
        "block block block local.get 0 br_table 0 1 2 end i32.const 1 drop end i32.const 1 drop end",
        0,
        5,
        Ok(()),
    ),
    (
        "block block block local.get 0 br_table 0 1 2 end i32.const 1 drop end i32.const 1 drop end",
        1,
        4,
        Ok(()),
    ),
    (
        "block block block local.get 0 br_table 0 1 2 end i32.const 1 drop end i32.const 1 drop end",
        -1,
        3,
        Ok(()),
    ),
    // What cannot be reached costs nothing.
    ("return i32.const 1 drop i32.const 1 drop", 0, 2, Ok(())),
    ("block br 0 i32.const 1 drop i32.const 1 drop end i32.const 1 drop", 0, 3, Ok(())),
    // Calls: the operator, and what the callee costs. `$three` costs 3.
    ("call $three drop", 0, 5, Ok(())),
    ("call $three drop call $three drop", 0, 9, Ok(())),
    ("i32.const 0 call_indirect (result i32) drop", 0, 6, Ok(())),
    ("ref.func $three call_ref $t drop", 0, 6, Ok(())),
    ("call $tail drop", 0, 7, Ok(())),
    ("call $host drop", 0, 2, Ok(())),
    // Bulk work: 1 for each 64 bytes or 8 elements begun, 1 for a page.
    ("(memory.fill (i32.const 0) (i32.const 0) (i32.const 0))", 0, 5, Ok(())),
    ("(memory.fill (i32.const 0) (i32.const 0) (i32.const 1))", 0, 6, Ok(())),
    ("(memory.fill (i32.const 0) (i32.const 0) (i32.const 64))", 0, 6, Ok(())),
    ("(memory.fill (i32.const 0) (i32.const 0) (i32.const 65))", 0, 7, Ok(())),
    ("(memory.copy (i32.const 0) (i32.const 9) (i32.const 6400))", 0, 105, Ok(())),
    ("(memory.init $d (i32.const 0) (i32.const 0) (i32.const 3))", 0, 6, Ok(())),
    ("(table.fill $e (i32.const 0) (ref.null extern) (i32.const 9))", 0, 7, Ok(())),
    ("(table.copy $e $e (i32.const 0) (i32.const 0) (i32.const 8))", 0, 6, Ok(())),
    ("(table.init $f $s (i32.const 0) (i32.const 0) (i32.const 1))", 0, 6, Ok(())),
    ("(drop (table.grow $e (ref.null extern) (i32.const 17)))", 0, 7, Ok(())),
    ("(drop (memory.grow (i32.const 3)))", 0, 6, Ok(())),
    ("(drop (memory.grow (i32.const 0)))", 0, 3, Ok(())),
    // Out of bounds: the operators, and nothing for work that is not done.
    (
        "(memory.fill (i32.const 1) (i32.const 0) (i32.const 65536))",
        0,
        5,
        Err(TrapCode::MemoryOutOfBounds),
    ),
    // The block that a trap interrupts is paid for.
    (
        "(drop (i32.div_s (i32.const 1) (local.get 0))) i32.const 1 drop",
        0,
        5,
        Err(TrapCode::IntegerDivideByZero),
    ),
    ("unreachable", 0, 2, Err(TrapCode::Unreachable)),
    ("i32.const 1 drop unreachable i32.const 1 drop", 0, 3, Err(TrapCode::Unreachable)),
    (
        "(drop (i32.load (i32.const -1))) block end i32.const 1 drop",
        0,
        3,
        Err(TrapCode::MemoryOutOfBounds),
    ),
];

fn text(body: &str) -> String {
    format!(
        r#"(module (type $t (func (result i32)))
        (import "h" "host" (func $host (result i32)))
        (memory 1 100) (table $f 1 funcref) (elem (table $f) (i32.const 0) func $three)
        (table $e 10 externref) (data $d "abc") (elem $s func $three)
        (func $three (result i32) i32.const 1 drop i32.const 2)
        (func $tail (result i32) return_call $three)
        (func (export "f") (param i32) {body}))"#
    )
}

#[test]
fn fuel_numbers_are_those_of_the_documentation() {
    for kind in ENGINES {
        let engine = engine_with(kind, |config| {
            config.consume_fuel(true);
        });
        let mut linker = Linker::<()>::new(&engine);
        linker.func_wrap("h", "host", || 5i32).expect("a definition");
        for (body, argument, cost, end) in CASES {
            let run = |fuel: u64| {
                let mut store = store(&engine);
                let instance = link(&linker, &mut store, &text(body));
                store.set_fuel(fuel).expect("metered");
                let outcome = invoke(&mut store, instance, "f", &[Val::I32(*argument)]);
                (outcome.map(drop), store.get_fuel().expect("metered"))
            };
            assert_eq!(run(1_000_000), (*end, 1_000_000 - cost), "{kind:?} {body}");
            // Exactly enough, and one too little.
            assert_eq!(run(*cost), (*end, 0), "{kind:?} {body}");
            assert_eq!(run(cost - 1), (Err(TrapCode::OutOfFuel), 0), "{kind:?} {body}");
        }
    }
}

#[test]
fn fuel_is_counted_over_calls_and_set_anew() {
    for kind in ENGINES {
        counted_over_calls(kind);
    }
}

fn counted_over_calls(kind: Kind) {
    let engine = metered_engine(kind);
    let mut linker = Linker::<()>::new(&engine);
    linker
        .func_wrap("h", "host", |mut caller: palisade::Caller<'_, ()>| {
            caller.charge_fuel(40).map(|()| 1i32)
        })
        .expect("a definition");
    let mut store = store(&engine);
    let instance = link(&linker, &mut store, &text("call $host drop i32.const 1 drop"));
    store.set_fuel(100).expect("metered");
    let used = store.fuel_consumed().expect("metered");
    assert_eq!(invoke(&mut store, instance, "f", &[Val::I32(0)]), Ok(vec![]));
    assert_eq!(store.get_fuel().expect("metered"), 57);
    assert_eq!(store.fuel_consumed(), Some(used + 43));
    assert_eq!(invoke(&mut store, instance, "f", &[Val::I32(0)]), Ok(vec![]));
    // 14 are left: the host's charge is not covered, and takes what there is.
    assert_eq!(invoke(&mut store, instance, "f", &[Val::I32(0)]), Err(TrapCode::OutOfFuel));
    assert_eq!(store.get_fuel().expect("metered"), 0);
    assert_eq!(store.fuel_consumed(), Some(used + 100));
    for fuel in [0, 1, u64::MAX] {
        store.set_fuel(fuel).expect("metered");
        let outcome = invoke(&mut store, instance, "f", &[Val::I32(0)]);
        assert_eq!(outcome.is_ok(), fuel == u64::MAX);
    }
    let plain = palisade_tests::engine(kind);
    let mut store = hostile_support::store(&plain);
    assert!(store.set_fuel(5).is_err() && store.get_fuel().is_err());
    assert_eq!(store.fuel_consumed(), None);
}
