//! What structures and arrays cost, and what ends a guest that makes too many of them or takes too long: fuel, the
//! ledger, the stack, the deadline.

#[path = "../hostile/hostile_support/mod.rs"]
mod hostile_support;

use hostile_support::{Outcome, engine_with, invoke, store};
use palisade::{Instance, Linker, Module, Resource, Store, TrapCode, Val};
use palisade_tests::{ENGINES, link, module};

const fn ok() -> Outcome {
    Ok(Vec::new())
}

/// What making objects and work on them costs: (body, fuel of one call).
const COSTS: &[(&str, u64)] = &[
    // Entering 1, operators 1 each, and 1 for each 64 bytes of the object that are begun.
    ("(drop (struct.new $one (i32.const 1)))", 1 + 2 + 1),
    ("(drop (struct.new_default $many))", 1 + 1 + 2),
    ("(drop (array.new_default $bytes (i32.const 0)))", 1 + 2 + 1),
    ("(drop (array.new_default $bytes (i32.const 56)))", 1 + 2 + 1),
    ("(drop (array.new_default $bytes (i32.const 57)))", 1 + 2 + 2),
    ("(drop (array.new $bytes (i32.const 7) (i32.const 640)))", 1 + 3 + 11),
    ("(drop (array.new_fixed $bytes 2 (i32.const 1) (i32.const 2)))", 1 + 3 + 1),
    ("(drop (array.new_data $bytes $d (i32.const 0) (i32.const 4)))", 1 + 3 + 1),
    ("(array.fill $bytes (global.get $a) (i32.const 0) (i32.const 1) (i32.const 65))", 1 + 5 + 2),
    ("(array.fill $bytes (global.get $a) (i32.const 0) (i32.const 1) (i32.const 0))", 1 + 5),
    (
        "(array.copy $bytes $bytes (global.get $a) (i32.const 0) (global.get $a) (i32.const 1) (i32.const 128))",
        1 + 6 + 2,
    ),
    (
        "(array.init_data $bytes $d (global.get $a) (i32.const 0) (i32.const 0) (i32.const 4))",
        1 + 5 + 1,
    ),
    ("(drop (ref.test (ref i31) (ref.i31 (i32.const 1))))", 1 + 3),
    // A cast that branches ends a block; the rest of it is not reached.
    (
        "(block $b (result anyref) (br_on_cast $b anyref i31ref (ref.null any)) (drop) (ref.null any)) (drop)",
        1 + 2,
    ),
];

#[test]
fn fuel_of_objects_is_exact() {
    for (body, cost) in COSTS {
        let text = format!(
            r#"(module (type $one (struct (field i32)))
            (type $many (struct {}))
            (type $bytes (array (mut i8)))
            (data $d "abcd")
            (global $a (ref $bytes) (array.new $bytes (i32.const 0) (i32.const 200)))
            (func (export "f") {body}))"#,
            "(field i64)".repeat(15)
        );
        for kind in ENGINES {
            for stress in [false, true] {
                let engine = engine_with(kind, |config| {
                    config.consume_fuel(true).gc_stress(stress);
                });
                let mut store = store(&engine);
                let instance = link(&Linker::new(&engine), &mut store, &text);
                store.set_fuel(*cost).unwrap();
                assert_eq!(invoke(&mut store, instance, "f", &[]), ok(), "{body}");
                assert_eq!(store.get_fuel().unwrap(), 0, "{body}");
                store.set_fuel(*cost - 1).unwrap();
                let found = invoke(&mut store, instance, "f", &[]);
                assert_eq!(found, Err(TrapCode::OutOfFuel), "{body}");
            }
        }
    }
}

/// An array of more elements than there can be, and more objects than there is room for.
#[test]
fn x8_objects_count_as_memory_and_end_at_its_limit() {
    let text = r#"(module
        (type $list (struct (field (ref null $list)) (field i64)))
        (type $longs (array i64)) (type $vectors (array (mut v128)))
        (func (export "huge") (param i32) (drop (array.new_default $longs (local.get 0))))
        (func (export "vectors") (param i32)
          (drop (array.new $vectors (v128.const i64x2 1 1) (local.get 0))))
        (func (export "many") (local $l (ref null $list))
          (loop $more (local.set $l (struct.new $list (local.get $l) (i64.const 1))) (br $more)))
        (func (export "few") (param i32) (local $l (ref null $list))
          (loop $more (local.set $l (struct.new $list (ref.null $list) (i64.const 1)))
            (br_if $more (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"#;
    for kind in ENGINES {
        let engine = engine_with(kind, |_| {});
        let mut store = store(&engine);
        store.set_resource_limit(Resource::MemoryBytes, Some(32 << 20));
        let instance = link(&Linker::new(&engine), &mut store, text);
        let mut run = |name: &str, args: &[Val]| invoke(&mut store, instance, name, args);
        assert_eq!(run("huge", &[Val::I32(-1)]), Err(TrapCode::AllocationTooLarge));
        assert_eq!(run("vectors", &[Val::I32(-1)]), Err(TrapCode::AllocationTooLarge));
        assert_eq!(run("huge", &[Val::I32(10_000_000)]), Err(TrapCode::HeapExhausted));
        assert_eq!(run("many", &[]), Err(TrapCode::HeapExhausted));
        // What is not used any more is room for others.
        assert_eq!(run("few", &[Val::I32(3_000_000)]), ok());
        assert_eq!(run("huge", &[Val::I32(1_000_000)]), ok());
        assert!(store.resource_use(Resource::MemoryBytes) <= 32 << 20);
        assert!(!store.is_poisoned());
    }
}

/// Who makes objects for ever can be stopped.
#[test]
fn x1_endless_making_of_objects_is_stopped() {
    let text = r#"(module (type $s (struct (field i32))) (type $a (array (mut i8)))
        (func (export "loop") (loop $l (drop (struct.new_default $s)) (br $l)))
        (func $tail (export "tail") (param anyref) (return_call $tail (struct.new $s (i32.const 1))))
        (func (export "arrays") (loop $l (drop (array.new $a (i32.const 1) (i32.const 5000000))) (br $l))))"#;
    for (kind, stress) in [false, true].into_iter().flat_map(|s| ENGINES.map(|d| (d, s))) {
        let engine = engine_with(kind, |config| {
            config.gc_stress(stress);
        });
        let mut store = store(&engine);
        let instance = link(&Linker::new(&engine), &mut store, text);
        for (name, args) in
            [("loop", vec![]), ("tail", vec![Val::AnyRef(None)]), ("arrays", vec![])]
        {
            store.set_timeout(Some(std::time::Duration::from_millis(20))).unwrap();
            let found = invoke(&mut store, instance, name, &args);
            assert_eq!(found, Err(TrapCode::DeadlineExceeded), "{name}");
        }
    }
}

/// Endless recursion that makes objects ends at the end of the stack, and they are gone then.
#[test]
fn s1_recursion_that_makes_objects_ends_at_the_end_of_the_stack() {
    let text = r#"(module (type $s (struct (field i32)))
        (func $again (export "calls") (param anyref) (call $again (struct.new $s (i32.const 1)))))"#;
    for kind in ENGINES {
        let engine = engine_with(kind, |_| {});
        let mut store = store(&engine);
        let instance = link(&Linker::new(&engine), &mut store, text);
        let deep = invoke(&mut store, instance, "calls", &[Val::AnyRef(None)]);
        assert_eq!(deep, Err(TrapCode::StackOverflow));
        store.gc().unwrap();
        assert_eq!(store.gc_stats().in_use, 0);
    }
}

/// Many places that make large structures: the code stays in proportion to the function.
#[test]
fn x10_making_large_structures_does_not_blow_up_the_code() {
    let fields = "(field i32)".repeat(1_000);
    let results = "i32 ".repeat(1_000);
    let zeros = "(i32.const 0) ".repeat(1_000);
    let make = "(drop (struct.new $s (call $many)))".repeat(20_000);
    let text = format!(
        "(module (type $s (struct {fields})) (func $many (result {results}) {zeros})
        (func (export \"f\") (param i32) (if (local.get 0) (then {make}))))"
    );
    for kind in ENGINES {
        let engine = engine_with(kind, |_| {});
        let mut store = store(&engine);
        let instance = link(&Linker::new(&engine), &mut store, &text);
        let before = store.resource_use(Resource::HostBytes);
        assert_eq!(invoke(&mut store, instance, "f", &[Val::I32(0)]), ok());
        let used = store.resource_use(Resource::HostBytes) - before;
        assert!(used < 20_000 * 200, "{used} bytes of code");
    }
}

/// A reference that a frame still holds, and nothing else, is a root until the frame is gone, and no longer.
#[test]
fn what_a_frame_has_left_is_not_kept() {
    let text = r#"(module (type $s (struct (field i32))) (type $big (array (mut i64)))
        (func $hold (param $n i32) (local $x (ref null $big))
          (local.set $x (array.new_default $big (i32.const 100000))))
        (func (export "run") (param $n i32)
          (loop $l (call $hold (local.get $n))
            (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
        (func (export "small") (drop (struct.new $s (i32.const 1)))))"#;
    for kind in ENGINES {
        let engine = engine_with(kind, |_| {});
        let module: Module = module(&engine, text);
        let mut store: Store<()> = store(&engine);
        let instance: Instance = Linker::new(&engine).instantiate(&mut store, &module).unwrap();
        assert_eq!(invoke(&mut store, instance, "run", &[Val::I32(200)]), ok());
        store.gc().unwrap();
        assert_eq!(store.gc_stats().in_use, 0);
        assert!(store.gc_stats().peak < 8 << 20, "{:?}", store.gc_stats());
    }
}
