//! Values in and out, traps, and what is no trap.

use palisade_core::TrapCode;
use palisade_vm::StoreConfig;

use crate::code::{Func, MODULE};
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

#[test]
fn s1_the_stack_may_end_in_a_wrapper() {
    let mut machine = Machine::new();
    assert_eq!(machine.enter(Func::Wrapped, 0), Err(TrapCode::StackOverflow));
    assert!(machine.world.store.trace.take().1 > 1000);
}

#[test]
fn an_interruption_ends_a_loop_and_stays_until_it_is_cleared() {
    let mut machine = Machine::new();
    let handle = machine.world.store.interrupt_handle();
    for code in [TrapCode::Interrupted, TrapCode::DeadlineExceeded] {
        let other = handle.clone();
        let stopper = std::thread::spawn(move || other.interrupt(code));
        assert_eq!(machine.enter(Func::Spin, 0), Err(code));
        stopper.join().expect("no panic");
        assert_eq!(machine.enter(Func::Spin, 0), Err(code));
        assert_eq!(machine.enter(Func::Double, 0), Err(code));
        handle.clear();
        assert_eq!(machine.enter(Func::Double, 0), Ok(1));
    }
}

#[test]
fn requests_and_pardons_race_with_a_loop() {
    let mut machine = Machine::new();
    let handle = machine.world.store.interrupt_handle();
    let racer = std::thread::spawn(move || {
        for _ in 0..20_000 {
            handle.interrupt(TrapCode::Interrupted);
            handle.clear();
        }
        handle.interrupt(TrapCode::DeadlineExceeded);
    });
    loop {
        match machine.enter(Func::Spin, 0) {
            Err(TrapCode::Interrupted) => {}
            ended => break assert_eq!(ended, Err(TrapCode::DeadlineExceeded)),
        }
    }
    racer.join().expect("no panic");
}

#[test]
fn backtraces_name_function_and_operator() {
    let mut machine = Machine::new();
    assert_eq!(machine.enter(Func::Unreachable, 0), Err(TrapCode::Unreachable));
    let (frames, omitted) = machine.world.store.trace.take();
    let found: Vec<_> = frames.iter().map(|frame| (frame.func.0, frame.offset)).collect();
    assert_eq!((found, omitted), (vec![(1 + Func::Unreachable as u32 % 2, 77)], 0));
}

#[test]
fn t5_backtraces_of_many_frames_keep_both_ends() {
    let config = StoreConfig { value_stack_bytes: 8 << 20, ..StoreConfig::default() };
    let mut machine = Machine::with(config, Box::new(|_, _, n| Ok(n)));
    for (frames, kept) in [(1, 1), (100, 100), (101, 101), (200, 200), (201, 200), (100_000, 200)] {
        assert_eq!(machine.enter(Func::Deep, frames), Err(TrapCode::Unreachable));
        let (found, omitted) = machine.world.store.trace.take();
        assert_eq!((found.len() as u64, omitted), (kept, frames - kept));
    }
}

#[test]
fn small_threads_can_enter_and_overflow() {
    let small = std::thread::Builder::new().stack_size(64 << 10).spawn(|| {
        let mut machine = Machine::new();
        for _ in 0..10 {
            assert_eq!(machine.enter(Func::Double, 4), Ok(9));
            assert_eq!(machine.enter(Func::Runaway, 4), Err(TrapCode::StackOverflow));
            assert_eq!(machine.enter(Func::Grow, 0), Ok(1));
        }
    });
    small.expect("a thread").join().expect("all of it holds");
}

#[test]
fn accesses_past_the_end_of_a_shared_memory_trap() {
    let shared = MODULE.replace("1 4)", "1 4 shared)");
    let mut machine =
        Machine::with_module(StoreConfig::default(), Box::new(|_, _, n| Ok(n)), &shared);
    assert_eq!(machine.enter(Func::Store, 65535), Ok(65535));
    assert_eq!(machine.enter(Func::Store, 65536), Err(TrapCode::MemoryOutOfBounds));
    assert_eq!(machine.enter(Func::Grow, 1), Ok(1));
    assert_eq!(machine.enter(Func::Store, 65536), Ok(65536));
    assert_eq!(machine.enter(Func::Store, 1 << 18), Err(TrapCode::MemoryOutOfBounds));
}
