//! All ways in which one function calls another.

use palisade_core::TrapCode;

use crate::machine::{Machine, set_host, set_other};

const FIB: &str = r#"(module
    (import "" "host" (func $host (param i64) (result i64)))
    (func $fib (export "fib") (param i64) (result i64)
        (if (i64.lt_u (local.get 0) (i64.const 2)) (then (return (local.get 0))))
        (i64.add
            (call $fib (i64.sub (local.get 0) (i64.const 1)))
            (call $fib (i64.sub (local.get 0) (i64.const 2)))))
    (func $other (export "other") (param i64) (result i64) unreachable)
    (func (export "call") (param i64) (result i64)
        (i64.add (call $other (local.get 0)) (i64.const 1)))
    (func (export "tail") (param i64) (result i64)
        (return_call $other (local.get 0)))
    (func (export "nested tail") (param i64) (result i64)
        (i64.add (call 4 (local.get 0)) (i64.const 1)))
    (func (export "host") (param i64) (result i64)
        (i64.add (call $host (local.get 0)) (i64.const 1)))
    (func (export "forever") (param i64) (result i64)
        (i64.add (call 7 (local.get 0)) (i64.const 1))))"#;

#[test]
fn functions_call_themselves() {
    let mut machine = Machine::new(FIB);
    assert_eq!(machine.call("fib", &[20]), Ok(vec![6765]));
    assert_eq!(machine.call("other", &[20]), Err(TrapCode::Unreachable));
    assert_eq!(machine.call("tail", &[20]), Err(TrapCode::Unreachable));
}

#[test]
fn functions_without_code_are_called_in_the_other_engine() {
    let mut machine = Machine::without(FIB, &[1]);
    set_other(|cells| {
        if cells[0] == 13 {
            return Err(TrapCode::CastFailure);
        }
        cells[0] *= 2;
        Ok(())
    });
    for _ in 0..2 {
        assert_eq!(machine.call("call", &[20]), Ok(vec![41]));
        assert_eq!(machine.call("tail", &[20]), Ok(vec![40]));
        assert_eq!(machine.call("nested tail", &[20]), Ok(vec![41]));
        assert_eq!(machine.call("other", &[20]), Ok(vec![40]));
        for name in ["call", "tail", "nested tail", "other"] {
            assert_eq!(machine.call(name, &[13]), Err(TrapCode::CastFailure), "{name}");
        }
    }
}

#[test]
fn host_functions_are_called() {
    let mut machine = Machine::new(FIB);
    set_host(|cells| {
        if cells[0] == 13 {
            return Err(TrapCode::CastFailure);
        }
        cells[0] += 10;
        Ok(())
    });
    assert_eq!(machine.call("host", &[20]), Ok(vec![31]));
    assert_eq!(machine.call("host", &[13]), Err(TrapCode::CastFailure));
    assert_eq!(machine.call("host", &[20]), Ok(vec![31]));
}

#[test]
fn s1_recursion_ends_with_the_stack() {
    let mut machine = Machine::new(FIB);
    for _ in 0..3 {
        assert_eq!(machine.call("forever", &[1]), Err(TrapCode::StackOverflow));
    }
    assert_eq!(machine.call("fib", &[10]), Ok(vec![55]));
}

#[test]
fn s1_large_frames_do_not_jump_over_the_guard() {
    // Every local lives across the call, so that the frame has room for all of them.
    let count = 6000;
    let locals = "v128 ".repeat(count);
    let mut wat =
        format!("(module (func $f (export \"f\") (param v128) (result v128) (local {locals})");
    for i in 1..=count {
        wat.push_str(&format!("(local.set {i} (i64x2.add (local.get {}) (local.get 0)))", i - 1));
    }
    wat.push_str("(local.get 0) (drop (call $f (local.get 0)))");
    for i in 1..=count {
        wat.push_str(&format!("(i64x2.mul (local.get {i}))"));
    }
    wat.push_str("))");
    let mut machine = Machine::new(&wat);
    for _ in 0..3 {
        assert_eq!(machine.call("f", &[1, 2]), Err(TrapCode::StackOverflow));
    }
}
