//! What attacks on the interpreter found: each program once gave a wrong result, or worse.
//!
//! Every program runs in every engine, with and without fuel.

mod hostile_support;

use hostile_support::{engine_with, engines, invoke, store};
use palisade::{ExternRef, Instance, Store, TrapCode, Val};
use palisade_tests::{ENGINES, module};

/// Calls `f` everywhere.
fn check(text: &str, args: &[Val], expected: &[u64]) {
    for engine in engines() {
        let module = module(&engine, text);
        let mut store = store(&engine);
        let instance = Instance::new(&mut store, &module, &[]).expect("instantiation");
        assert_eq!(invoke(&mut store, instance, "f", args), Ok(expected.to_vec()));
    }
}

/// The end of a counting loop is one instruction, for which two are taken back. A float that goes round
/// was put into its slot after the first of them: to forget that left a stale note, by which a later
/// value at the same height was thought to be in that slot.
#[test]
fn c8_what_was_spilled_before_a_counting_loop_ends_stays_spilled() {
    check(
        r#"(module (func (export "f") (param $x f64) (param $y f64) (result f64) (local $i i32)
            local.get $x
            loop $again (param f64) (result f64)
                drop
                local.get $x local.get $x f64.mul
                local.get $i i32.const 1 i32.add local.tee $i i32.const 3 i32.lt_s
                br_if $again
                drop
                local.get $y
                local.get $x f64.const 1 f64.sub drop
            end))"#,
        &[Val::F64(3f64.to_bits()), Val::F64(7f64.to_bits())],
        &[7f64.to_bits()],
    );
}

/// The same with a reference at that height, which was the float's bits then: a number of the guest's
/// choice, called as a function.
#[test]
fn m5_a_spilled_number_does_not_become_a_function() {
    check(
        r#"(module (type $t (func (result i32))) (elem declare func $g)
            (func $g (type $t) i32.const 5)
            (func (export "f") (param $x f64) (result i32) (local $i i32) (local $g (ref null $t))
                ref.func $g local.set $g
                local.get $x
                loop $again (param f64) (result i32)
                    drop
                    local.get $x local.get $x f64.mul
                    local.get $i i32.const 1 i32.add local.tee $i i32.const 3 i32.lt_s
                    br_if $again
                    drop
                    local.get $g
                    local.get $x f64.const 1 f64.sub drop
                    call_ref $t
                end))"#,
        &[Val::F64(0x4141_4141_4141_4141)],
        &[5],
    );
}

/// A value that leaves a block is stored where the block's end expects it by the instruction that makes it.
/// Not if a branch in between takes what stands there.
#[test]
fn c8_a_value_is_not_put_into_place_before_a_branch_reads_that_place() {
    let text = r#"(module (func $same (param i32) (result i32) local.get 0)
        (func (export "f") (param $c i32) (result i32 i32 i32)
            block $outer (result i32 i32 i32)
                i32.const 99 call $same
                block $inner (result i32)
                    i32.const 1 call $same
                    i32.const 2 call $same
                    local.get $c i32.const 10 i32.add
                    local.get $c br_if $outer
                    br $inner
                end
                i32.const 7
            end))"#;
    check(text, &[Val::I32(1)], &[1, 2, 11]);
    check(text, &[Val::I32(0)], &[99, 10, 7]);
}

/// The same with a reference in that place.
#[test]
fn m5_a_number_put_into_place_does_not_become_a_function() {
    check(
        r#"(module (type $t (func (result i32))) (elem declare func $g)
            (func $g (type $t) i32.const 5)
            (func $get (result (ref $t)) ref.func $g)
            (func (export "f") (param $n i64) (param $c i32) (result i32)
                block $outer (result (ref $t) i64)
                    i64.const 99
                    block $inner (result i64)
                        call $get
                        local.get $n i64.const 1 i64.add
                        local.get $c br_if $outer
                        br $inner
                    end
                    unreachable
                end
                drop
                call_ref $t))"#,
        &[Val::I64(0x4141_4141_4141), Val::I32(1)],
        &[5],
    );
}

/// Constant expressions make objects without a guest that runs: a few bytes ask for gigabytes, again and again.
/// An array without elements keeps nothing of what was made for it. Small ones are free, for they are bounded by the
/// size of the module.
#[test]
fn x1_large_objects_of_constant_expressions_are_paid_for() {
    let constants = |count: usize, bytes: u32| {
        let one = format!(
            "(item (array.new $r (array.new $a (i32.const 1) (i32.const {bytes})) (i32.const 0)))"
        );
        format!(
            "(module (type $a (array i8)) (type $r (array (ref $a))) (elem (ref $r) {}))",
            one.repeat(count)
        )
    };
    for kind in ENGINES {
        for stress in [false, true] {
            let engine = engine_with(kind, |config| {
                config.consume_fuel(true).gc_stress(stress);
            });
            let cost = |text: &str| {
                let mut store = Store::new(&engine, ());
                store.set_fuel(100_000).expect("metered");
                let made = Instance::new(&mut store, &module(&engine, text), &[]);
                let left = store.get_fuel().expect("metered");
                (made.map(drop).map_err(|error| error.trap_code()), 100_000 - left)
            };
            assert_eq!(cost(&constants(1000, 6)), (Ok(()), 0));
            assert_eq!(cost(&constants(10, 64 * 100)), (Ok(()), 1000));
            // Days of work, if nobody paid.
            let endless = constants(10_000, 1 << 30);
            assert_eq!(cost(&endless), (Err(Some(TrapCode::OutOfFuel)), 100_000));
            // What cannot be had at all is not paid for.
            let too_large = constants(1, u32::MAX);
            assert_eq!(cost(&too_large), (Err(Some(TrapCode::AllocationTooLarge)), 0));
        }
    }
}

/// Panics when it is dropped.
struct Bomb;
impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a host value does not want to go");
    }
}

/// How many host values there are when a store goes may be up to the guest. The second that panicked while the
/// first one's panic unwound ended the process.
#[test]
fn h4_host_values_that_panic_when_their_store_is_dropped_do_not_end_the_process() {
    for engine in engines() {
        let mut store = Store::new(&engine, ());
        for _ in 0..3 {
            ExternRef::new(&mut store, Bomb).expect("room");
        }
        drop(store);
    }
}
