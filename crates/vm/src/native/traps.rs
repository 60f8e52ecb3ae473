//! What a fault means: the rules by which a signal becomes a trap of the guest.
//!
//! Runs in a signal handler: nothing allocates, locks or panics, until it is known that the guest stands at a poll of its
//! own, and is to be looked at ([`crate::sample`]): what an instruction of the guest's has called may do what any host function
//! may, but for unwinding. A fault is the guest's if this thread runs machine
//! code of a store, the instruction lies in code of the engine, and one of these holds:
//!
//! - the instruction is recorded to raise a trap, and the signal is the one that does it (an invalid instruction, or
//!   a division);
//! - the instruction is recorded to access memory, and the address lies in a reservation of this store;
//! - the instruction is recorded to look for an interruption, and the address lies in this store's poll region;
//! - the address lies in the guard of this store's machine stack, whatever the instruction is.
//!
//! A handler of the embedder that runs on the machine stack, since it asked for no other, may find that stack nearly used
//! up. It gets the reserve then, and the guest is stopped when it next looks for an interruption.
//!
//! Everything else, in machine code or not, goes to who was there before.

use std::cell::Cell;
use std::io;

use palisade_core::TrapCode;

use super::{POLL, POLL_BYTES, arch};
use crate::layout::{NativeState, VmStoreCtx};
use crate::sys::alt_stack;
use crate::sys::signals::{self, Fault};

thread_local! {
    /// The store whose machine code this thread is in, or has left through a wrapper.
    static CURRENT: Cell<*mut VmStoreCtx> = const { Cell::new(std::ptr::null_mut()) };
}

/// Whether [`prepare_thread`] was called on this thread.
pub(crate) fn thread_is_prepared() -> bool {
    alt_stack::is_there()
}

/// Sees to it that faults of this thread come to us, on a stack that is large enough.
pub(crate) fn prepare_thread() -> io::Result<()> {
    signals::install(on_fault)?;
    signals::admit_faults()?;
    alt_stack::ensure()
}

/// From here on, faults of this thread may be those of a store. Returns what [`leave`] is to be given.
pub(crate) fn enter(ctx: *mut VmStoreCtx) -> *mut VmStoreCtx {
    CURRENT.replace(ctx)
}

/// The opposite of [`enter`].
pub(crate) fn leave(previous: *mut VmStoreCtx) {
    CURRENT.set(previous);
}

/// What to do about a fault.
enum Verdict {
    /// Not ours.
    Foreign,
    /// Nothing: by now it is all right.
    Again,
    /// The guest goes on after somebody has looked where it is.
    Sample,
    /// The guest ends.
    Trap(u8),
}

/// Decides about a signal, and lets the thread go on if it is the guest's. `false` if it is not.
fn on_fault(fault: &Fault) -> bool {
    let Ok(ctx) = CURRENT.try_with(Cell::get) else { return false };
    if ctx.is_null() {
        return false;
    }
    // SAFETY: the current store is alive, for its entry is on this thread's stack.
    let state = unsafe { &mut (*ctx).native };
    // SAFETY: we are in the handler of this thread's signal.
    let registers = unsafe { arch::Registers::new(fault.context) };
    // SAFETY: as above.
    match unsafe { judge(state, fault, &registers) } {
        Verdict::Foreign => return false,
        Verdict::Again => {}
        Verdict::Sample => {
            note(state, &registers);
            // SAFETY: the current store, whose machine code stands at a poll: nothing of the host is under way.
            unsafe {
                crate::sample::sample(ctx);
                // Nothing has ended.
                (*ctx).native.exit_pc = 0;
            }
        }
        Verdict::Trap(code) => {
            note(state, &registers);
            registers.leave(ctx, state.host_sp as usize, code.into());
        }
    }
    true
}

/// Notes where machine code was left.
fn note(state: &mut NativeState, registers: &arch::Registers) {
    let pc = registers.pc();
    state.exit_fp = std::ptr::with_exposed_provenance_mut(registers.fp());
    state.exit_sp = std::ptr::with_exposed_provenance_mut(registers.sp());
    state.exit_pc = pc;
    if arch::in_wrapper(pc) {
        // A wrapper whose frame is not made yet: as if its caller had failed in the call.
        let sp = registers.sp();
        let inside = sp >= state.lowest_frame() && sp <= state.stack_high - size_of::<usize>();
        let ret = if inside {
            // SAFETY: a word of the machine stack, on its own thread.
            unsafe { state.exit_sp.cast::<usize>().read_unaligned() }
        } else {
            0
        };
        state.exit_pc = ret.saturating_sub(1);
    }
}

/// What a fault is.
///
/// # Safety
///
/// The state is that of a live store, whose machine code runs on this thread or has left through a wrapper.
unsafe fn judge(state: &mut NativeState, fault: &Fault, registers: &arch::Registers) -> Verdict {
    let pc = registers.pc();
    // SAFETY: the registry lives as long as the store. If there is code at the instruction then it runs, which
    // somebody sees to.
    let object = unsafe { state.registry.as_ref().and_then(|registry| registry.lookup(pc)) };
    if object.is_none() && !arch::in_wrapper(pc) {
        let helped = needs_reserve(state, fault, registers) && open_reserve(state);
        return if helped { Verdict::Again } else { Verdict::Foreign };
    }
    if exhausted(state, fault, registers) {
        return Verdict::Trap(TrapCode::StackOverflow as u8);
    }
    let record = object.and_then(|object| object.trap_at(object.offset_of(pc)?));
    let Some(code) = record else { return Verdict::Foreign };
    match fault.signal {
        libc::SIGILL | libc::SIGFPE if code != POLL && fault.synchronous => Verdict::Trap(code),
        libc::SIGSEGV => {
            let Some(address) = fault.address else { return Verdict::Foreign };
            if code == POLL {
                return polled(state, address);
            }
            // SAFETY: passed on.
            if unsafe { state.may_fault_at(address) } {
                Verdict::Trap(code)
            } else {
                Verdict::Foreign
            }
        }
        _ => Verdict::Foreign,
    }
}

/// Whether the machine stack is used up: its guard was touched, or the system found no room there for a signal.
fn exhausted(state: &NativeState, fault: &Fault, registers: &arch::Registers) -> bool {
    if fault.signal != libc::SIGSEGV || state.stack_guard == 0 {
        return false;
    }
    if let Some(address) = fault.address {
        return (state.stack_guard..state.stack_low).contains(&address);
    }
    let near = state.stack_low + signals::frame_bytes();
    fault.by_kernel && (state.stack_guard..near).contains(&registers.sp())
}

/// Whether host code on the machine stack, a handler of a signal, has used it up.
fn needs_reserve(state: &NativeState, fault: &Fault, registers: &arch::Registers) -> bool {
    let touched = |address| (state.stack_reserve..state.stack_low).contains(&address);
    fault.signal == libc::SIGSEGV
        && state.reserve_open == 0
        && fault.address.is_some_and(touched)
        && (state.stack_guard..state.stack_high).contains(&registers.sp())
}

/// Opens the reserve, and closes the poll region so that the guest does not use it for long.
fn open_reserve(state: &mut NativeState) -> bool {
    let (from, len) = (state.stack_reserve, state.stack_low - state.stack_reserve);
    let open = libc::PROT_READ | libc::PROT_WRITE;
    if !protect(from, len, open) || !protect(state.poll, POLL_BYTES as usize, libc::PROT_NONE) {
        return false;
    }
    state.reserve_open = 1;
    true
}

/// Closes the reserve again. Host code runs, on a stack of its own, and what is left on the machine stack lies above.
pub(crate) fn close_reserve(state: &mut NativeState) {
    let (from, len) = (state.stack_reserve, state.stack_low - state.stack_reserve);
    if protect(from, len, libc::PROT_NONE) {
        state.reserve_open = 0;
    }
}

/// Changes the access of pages of the store's own, without a trace in what the thread was doing.
fn protect(from: usize, len: usize, access: libc::c_int) -> bool {
    // SAFETY: the pages are the store's, and nothing but machine code and handlers on its stack refers to them; the
    // number of the last error is the thread's own.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        let at = std::ptr::with_exposed_provenance_mut(from);
        let changed = libc::mprotect(at, len, access) == 0;
        *errno = before;
        changed
    }
}

/// Why a load from the poll region failed.
fn polled(state: &NativeState, address: usize) -> Verdict {
    if address.wrapping_sub(state.poll) >= POLL_BYTES as usize {
        return Verdict::Foreign;
    }
    if state.reserve_open != 0 {
        return Verdict::Trap(TrapCode::StackOverflow as u8);
    }
    // SAFETY: the words live as long as the store.
    match unsafe { (*state.interrupts).pending() } {
        Some(code) => Verdict::Trap(code as u8),
        // SAFETY: as above.
        None if unsafe { (*state.interrupts).wants_sample() } => Verdict::Sample,
        // Somebody has taken the request back, and is about to open the region.
        None => Verdict::Again,
    }
}
