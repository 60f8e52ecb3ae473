//! Values in and out, traps, and what is no trap.

use palisade_core::TrapCode;

use crate::code::Func;
use crate::machine::Machine;

#[test]
fn values_go_in_and_come_out() {
    let mut machine = Machine::new();
    for n in [0, 1, 1 << 40] {
        assert_eq!(machine.enter(Func::Double, n), Ok(2 * n + 1));
    }
}

#[test]
fn builtins_are_called_on_the_hosts_stack_and_return() {
    let mut machine = Machine::new();
    assert_eq!(machine.enter(Func::Grow, 2), Ok(1));
    assert_eq!(machine.enter(Func::Grow, 0), Ok(3));
    assert_eq!(machine.enter(Func::Grow, 5), Ok(u64::MAX));
}

#[test]
fn recorded_instructions_trap() {
    let mut machine = Machine::new();
    for _ in 0..3 {
        assert_eq!(machine.enter(Func::Unreachable, 0), Err(TrapCode::Unreachable));
        assert_eq!(machine.enter(Func::Division, 0), Err(TrapCode::IntegerDivideByZero));
        assert_eq!(machine.enter(Func::Division, 1), Ok(1));
    }
}

#[test]
fn accesses_past_the_end_of_a_memory_trap() {
    let mut machine = Machine::new();
    assert_eq!(machine.enter(Func::Store, 65535), Ok(65535));
    for n in [65536, 1 << 20, u32::MAX.into(), (1 << 33) - 1, (-1i64) as u64] {
        assert_eq!(machine.enter(Func::Store, n), Err(TrapCode::MemoryOutOfBounds), "{n}");
    }
}

#[test]
fn s1_recursion_without_end_is_stack_overflow() {
    let mut machine = Machine::new();
    for func in [Func::Runaway, Func::RunawayLarge] {
        for _ in 0..3 {
            assert_eq!(machine.enter(func, 0), Err(TrapCode::StackOverflow));
        }
    }
    assert_eq!(machine.enter(Func::Double, 1), Ok(3));
}
