//! Machine code, other engines and the host, each calling the others; exceptions and references across them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use palisade_core::TrapCode;
use palisade_module::FuncIdx;
use palisade_vm::builtins::gc;
use palisade_vm::layout::{VmCtx, VmRef};
use palisade_vm::native::{CodeObject, Entered};
use palisade_vm::{StoreConfig, StoreInner};

use crate::code::Func;
use crate::machine::{Machine, OTHER, enter_raw};

#[test]
fn host_functions_are_called_on_behalf_of_their_caller() {
    let seen = Arc::new(AtomicU64::new(0));
    let note = seen.clone();
    let work = move |_, caller: *mut VmCtx, n: u64| {
        note.store(caller as u64, Ordering::Relaxed);
        if n == 5 { Err(TrapCode::LimitExceeded) } else { Ok(n * 3) }
    };
    let mut machine = Machine::with(StoreConfig::default(), Box::new(work));
    assert_eq!(machine.enter(Func::CallImport, 7), Ok(1021));
    assert_eq!(seen.load(Ordering::Relaxed), machine.vm as u64);
    assert_eq!(machine.enter(Func::CallImport, 5), Err(TrapCode::LimitExceeded));
    assert_eq!(machine.world.store.trace.take().0.len(), 1);
    assert_eq!(machine.enter(Func::CallImport, 1), Ok(1003));
}

#[test]
fn h4_a_panic_of_the_host_poisons_the_store_and_nothing_else() {
    let mut machine =
        Machine::with(StoreConfig::default(), Box::new(|_, _, n| panic!("argument {n}")));
    assert_eq!(machine.enter(Func::CallImport, 7), Err(TrapCode::Internal));
    assert!(machine.world.store.poisoned);
    let error = machine.world.store.pending_error.take().expect("an error");
    assert!(error.to_string().contains("argument 7"), "{error}");
    assert_eq!(Machine::new().enter(Func::Double, 7), Ok(15));
}

/// What a host function enters again, and how deep it has got.
type Again = Arc<Mutex<Option<Arc<CodeObject>>>>;

fn nesting(levels: u64, bottom: Func) -> Machine {
    let again: Again = Again::default();
    let object = again.clone();
    let work = move |store: *mut StoreInner, caller: *mut VmCtx, n: u64| {
        let object = object.lock().expect("no panic").clone().expect("it was set");
        let func = if n < levels { Func::CallImport } else { bottom };
        // SAFETY: a host function of the store's own.
        unsafe { enter_raw(store, &object, func, caller.cast(), n + 1).map(|(_, value)| value) }
    };
    let machine = Machine::with(StoreConfig::default(), Box::new(work));
    *again.lock().expect("no panic") = Some(machine.object.clone());
    machine
}

#[test]
fn t2_traps_under_five_levels_of_entries_leave_all_of_them() {
    let mut machine = nesting(5, Func::Unreachable);
    for _ in 0..3 {
        assert_eq!(machine.enter(Func::CallImport, 0), Err(TrapCode::Unreachable));
        assert_eq!(machine.world.store.trace.take().0.len(), 7);
    }
    let mut machine = nesting(5, Func::Runaway);
    assert_eq!(machine.enter(Func::CallImport, 0), Err(TrapCode::StackOverflow));
    let mut machine = nesting(5, Func::Double);
    assert_eq!(machine.enter(Func::CallImport, 0), Ok(6000 + 13));
}

#[test]
fn s1_entries_nested_without_end_are_stack_overflow() {
    let mut machine = nesting(u64::MAX, Func::Double);
    assert_eq!(machine.enter(Func::CallImport, 0), Err(TrapCode::StackOverflow));
    machine.world.store.trace.clear();
    assert_eq!(machine.enter(Func::Double, 0), Ok(1));
}

#[test]
fn calls_into_another_engine_nest_and_tail_calls_do_not() {
    let mut machine = Machine::new();
    let instance = machine.world.store.instance(machine.id).expect("it");
    let (a, import) = (instance.func_ref(FuncIdx(1)), instance.func_ref(FuncIdx(0)));
    // SAFETY: the references are the store's; from here on the import leads to the other engine.
    unsafe { (*import).native = (*a).native };
    assert_eq!(machine.enter(Func::CallImport, 20), Ok(1021));
    assert_eq!(OTHER.load(Ordering::Relaxed), 20);
    assert_eq!(machine.enter(Func::CallImport, 13), Err(TrapCode::CastFailure));
    for (func, callee) in [(Func::TailImport, machine.vm.cast()), (Func::Interp, a.cast())] {
        let (entered, _) = machine.enter_with(func, callee, 33).expect("no trap");
        assert_eq!(entered, Entered::Continue);
        let kept = &machine.world.store.continuation;
        assert_eq!((kept.func, &kept.cells[..]), (a, &[33][..]));
        assert_eq!(OTHER.load(Ordering::Relaxed) & !31, 0, "it was not called");
    }
}

/// Makes an exception of the module's tag.
pub(crate) fn exception(machine: &Machine) -> u64 {
    let instance = machine.world.store.instance(machine.id).expect("it");
    let offset = instance.offsets.tag(palisade_module::TagIdx(0));
    // SAFETY: the tag has no parameters, so that its exceptions have 8 bytes.
    unsafe {
        let identity = VmCtx::pointer::<()>(machine.vm, offset);
        gc::exn_new(machine.vm, identity, 8, 0).expect("room").0.into()
    }
}

#[test]
fn exceptions_are_caught_and_paid_for() {
    let config = StoreConfig { fuel_enabled: true, ..StoreConfig::default() };
    let mut machine = Machine::with(config, Box::new(|_, _, n| Ok(n)));
    machine.world.set_fuel(1000);
    let exn = exception(&machine);
    let (before, ctx) = (machine.world.fuel(), machine.world.store.ctx());
    // SAFETY: the context is the store's.
    let depth = unsafe {
        (*ctx).depth_left = 100;
        (*ctx).depth_left
    };
    assert_eq!(machine.enter(Func::Catch, exn), Ok(exn));
    // Two frames and one clause.
    assert_eq!(machine.world.fuel(), before - 3);
    // SAFETY: as above.
    unsafe {
        assert!((*ctx).pending_exn.is_null());
        // One frame is gone that had counted itself, if it had.
        assert_eq!((*ctx).depth_left, depth + 1);
    }
    assert_eq!(machine.enter(Func::Throw, exn), Err(TrapCode::UncaughtException));
    // SAFETY: as above.
    unsafe {
        assert_eq!((*ctx).pending_exn, VmRef(exn as u32));
        (*ctx).pending_exn = VmRef::NULL;
    }
    assert_eq!(machine.enter(Func::Throw, 0), Err(TrapCode::NullExceptionReference));
    machine.world.set_fuel(2);
    assert_eq!(machine.enter(Func::Catch, exn), Err(TrapCode::OutOfFuel));
    // SAFETY: as above.
    unsafe { assert!((*ctx).pending_exn.is_null()) };
}

#[test]
fn references_in_frames_are_roots_and_move() {
    let config = StoreConfig { gc_stress: true, ..StoreConfig::default() };
    let mut machine = Machine::with(config, Box::new(|_, _, n| Ok(n)));
    let exn = exception(&machine);
    let kept = machine.enter(Func::Keep, exn).expect("room");
    assert_ne!(kept, exn, "the object has moved");
    // SAFETY: nothing was allocated since.
    let tag = unsafe { gc::exn_tag(machine.vm, VmRef(kept as u32)) };
    assert!(!tag.is_null());
    assert_eq!(machine.enter(Func::Keep, 0), Ok(0));
}

/// A machine whose host function enters a function of the same store with the same argument.
fn entering(config: StoreConfig, func: Func) -> Machine {
    let again: Again = Again::default();
    let object = again.clone();
    let work = move |store: *mut StoreInner, caller: *mut VmCtx, n: u64| {
        let object = object.lock().expect("no panic").clone().expect("it was set");
        // SAFETY: a host function of the store's own.
        unsafe { enter_raw(store, &object, func, caller.cast(), n).map(|(_, value)| value) }
    };
    let machine = Machine::with(config, Box::new(work));
    *again.lock().expect("no panic") = Some(machine.object.clone());
    machine
}

#[test]
fn references_in_outer_segments_are_roots_too() {
    let config = StoreConfig { gc_stress: true, ..StoreConfig::default() };
    let mut machine = entering(config, Func::Keep);
    let exn = exception(&machine);
    let kept = machine.enter(Func::Hold, exn).expect("room");
    assert_ne!(kept, exn, "the object has moved");
    // SAFETY: nothing was allocated since.
    let tag = unsafe { gc::exn_tag(machine.vm, VmRef(kept as u32)) };
    assert!(!tag.is_null());
}

#[test]
fn exceptions_go_through_the_host_to_an_outer_segment() {
    let mut machine = entering(StoreConfig::default(), Func::Throw);
    let exn = exception(&machine);
    for _ in 0..3 {
        assert_eq!(machine.enter(Func::CatchImport, exn), Ok(exn));
        assert!(machine.world.store.trace.is_empty());
    }
    // Uncaught, both segments are in the backtrace.
    assert_eq!(machine.enter(Func::CallImport, exn), Err(TrapCode::UncaughtException));
    assert_eq!(machine.world.store.trace.take().0.len(), 2);
    // SAFETY: the context is the store's.
    unsafe { (*machine.world.store.ctx()).pending_exn = VmRef::NULL };
    // No other trap is caught.
    assert_eq!(machine.enter(Func::CatchImport, 0), Err(TrapCode::NullExceptionReference));
}

#[test]
fn t1_stores_nest_and_each_has_its_own_faults() {
    let inner = Mutex::new(SendMachine(Machine::new()));
    let work = move |_, _, n: u64| {
        let mut inner = inner.lock().expect("no panic");
        inner.0.world.store.update_host_stack_limit();
        assert_eq!(inner.0.enter(Func::Store, 65536), Err(TrapCode::MemoryOutOfBounds));
        assert_eq!(inner.0.enter(Func::Runaway, 0), Err(TrapCode::StackOverflow));
        inner.0.world.store.trace.clear();
        Ok(n)
    };
    let mut machine = Machine::with(StoreConfig::default(), Box::new(work));
    for _ in 0..3 {
        assert_eq!(machine.enter(Func::CallImport, 1), Ok(1001));
        assert_eq!(machine.enter(Func::Store, 65536), Err(TrapCode::MemoryOutOfBounds));
        assert_eq!(machine.enter(Func::Runaway, 0), Err(TrapCode::StackOverflow));
    }
}

/// A machine that is only ever used on the thread that made it.
struct SendMachine(Machine);
// SAFETY: see above.
unsafe impl Send for SendMachine {}
