//! Waiting and notifying, for engines. Everything else about atomics is inline in them.
//!
//! Traps come in this order: alignment, bounds, and for a wait a memory that is not shared. A guest that
//! waits ends when its store is interrupted or its deadline comes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_core::{TrapCode, fuel};
use palisade_module::MemoryIdx;

use super::{charge, instance, store};
use crate::layout::VmCtx;
use crate::ledger::Resource;
use crate::memory::{SharedMemory, check_atomic};
use crate::parking::WaitResult;

/// The effective address, and the memory if it is a shared one, after all checks but the last.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread, and no reference into the store is held.
unsafe fn place(
    vm: *mut VmCtx,
    memory: u32,
    index: u64,
    offset: u64,
    size: u64,
) -> Result<(u64, Option<Arc<SharedMemory>>), TrapCode> {
    // SAFETY: passed on to the caller; all references end with their statements.
    let (id, store) = unsafe { (instance(vm).memory(MemoryIdx(memory)), &*store(vm)) };
    let id = id.ok_or(TrapCode::Internal)?;
    let len = store.memory_len(id).ok_or(TrapCode::Internal)?;
    // A sum that wraps is aligned or not as the true one is, and lies outside in any case.
    let address = index.wrapping_add(offset);
    check_atomic(address, size, len)?;
    if address < index {
        return Err(TrapCode::MemoryOutOfBounds);
    }
    Ok((address, store.shared_memory(id).cloned()))
}

/// `memory.atomic.notify`: how many were woken. Nobody can wait on a memory that is not shared.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread, and no reference into the store is held.
pub unsafe fn memory_atomic_notify(
    vm: *mut VmCtx,
    memory: u32,
    index: u64,
    offset: u64,
    count: u32,
) -> Result<u64, TrapCode> {
    // SAFETY: passed on to the caller.
    let (address, shared) = unsafe {
        charge(vm, fuel::WAIT)?;
        place(vm, memory, index, offset, 4)?
    };
    shared.map_or(Ok(0), |shared| shared.notify(address, count).map(u64::from))
}

/// `memory.atomic.wait32`, and with `wide` `memory.atomic.wait64`: 0 when notified, 1 when the memory
/// was not as expected, 2 when `timeout` nanoseconds were over; negative ones are for ever.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread, and no reference into the store is held.
pub unsafe fn memory_atomic_wait(
    vm: *mut VmCtx,
    memory: u32,
    wide: bool,
    index: u64,
    offset: u64,
    expected: u64,
    timeout: i64,
) -> Result<u64, TrapCode> {
    // SAFETY: passed on to the caller.
    let (address, shared) = unsafe {
        charge(vm, fuel::WAIT)?;
        place(vm, memory, index, offset, if wide { 8 } else { 4 })?
    };
    let shared = shared.ok_or(TrapCode::ExpectedSharedMemory)?;
    // SAFETY: passed on to the caller; the handle is a copy, so that nothing of the store is
    // borrowed while the guest sleeps.
    let (interrupt, room) = unsafe {
        let store = &mut *store(vm);
        (store.interrupt_handle(), store.ledger().room(Resource::WaitTime))
    };
    let began = Instant::now();
    // What lies beyond all clocks never comes.
    let asked = u64::try_from(timeout).unwrap_or(u64::MAX);
    let until = began
        .checked_add(Duration::from_nanos(asked.min(room)))
        .filter(|_| asked.min(room) != u64::MAX);
    let result: Result<WaitResult, TrapCode> = if wide {
        shared.wait64(address, expected, until, Some(&interrupt))
    } else {
        shared.wait32(address, expected as u32, until, Some(&interrupt))
    };
    let waited = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
    // SAFETY: the caller holds no reference into the store, and this one ends here.
    let ledger = unsafe { (*store(vm)).ledger() };
    let _ = ledger.spend(Resource::WaitTime, waited);
    let result = result?;
    if result == WaitResult::TimedOut && asked > room {
        let _ = ledger.check(Resource::WaitTime, asked.saturating_sub(room));
        return Err(TrapCode::LimitExceeded);
    }
    Ok(result as u64)
}
