//! The operations that every engine calls instead of having its own: growth, bulk work, segments,
//! function references, subtyping.
//!
//! Each takes the context of the running instance, indices as validation left them, and plain numbers
//! (indices of 32-bit memories and tables zero-extended). Bounds are checked first, then the fuel is
//! taken, then the work is done; long work is done in steps that look at the interruption flag
//! between them, so that a trap in mid-work leaves the steps before it written. Nothing here
//! keeps a reference to an object while another is reached.

pub mod atomic;
pub mod func;
pub mod gc;
pub mod memory;
pub mod table;

use palisade_core::TrapCode;

use crate::error::VmError;
use crate::instance::Instance;
use crate::layout::VmCtx;
use crate::store::StoreInner;

pub use atomic::{memory_atomic_notify, memory_atomic_wait};
pub use func::{is_subtype, ref_func};
pub use memory::{data_drop, memory_copy, memory_fill, memory_grow, memory_init};
pub use table::{
    elem_drop, table_copy, table_fill, table_get, table_grow, table_init, table_set, table_size,
};

/// What growth answers when there was none: -1.
pub const GROW_FAILED: u64 = u64::MAX;

/// The store that a context belongs to.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread.
unsafe fn store(vm: *mut VmCtx) -> *mut StoreInner {
    // SAFETY: contexts point to their store's context, and that to the store.
    unsafe { (*(*vm).store).store }
}

/// The instance that a context belongs to, for reading.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread, and the instance is not changed meanwhile.
unsafe fn instance<'a>(vm: *mut VmCtx) -> &'a Instance {
    // SAFETY: contexts point to their instance, which lives as long as they do.
    unsafe { &*(*vm).instance }
}

/// Takes fuel, if guests pay at all. What is left is below zero after a failure.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread, and no reference into the store itself is held.
unsafe fn charge(vm: *mut VmCtx, units: u64) -> Result<(), TrapCode> {
    // SAFETY: passed on to the caller; the reference ends with the call.
    unsafe { (*store(vm)).pay(units) }
}

impl StoreInner {
    /// Takes fuel, if guests pay at all. What is left is below zero after a failure.
    pub fn pay(&mut self, units: u64) -> Result<(), TrapCode> {
        if !self.config.fuel_enabled {
            return Ok(());
        }
        // SAFETY: the store owns the context, and only its own thread, which is here, touches it.
        unsafe { take_fuel(&raw mut (*self.ctx_ptr()).fuel, units) }
    }
}

/// How far below zero fuel goes: engines take the cost of a block before they look, and this has room for it without
/// wrapping to a fortune.
pub const LEAST_FUEL: i64 = i64::MIN / 2;

/// Takes `units` from the fuel at `fuel`.
///
/// # Safety
///
/// `fuel` may be read and written.
unsafe fn take_fuel(fuel: *mut i64, units: u64) -> Result<(), TrapCode> {
    let units = i64::try_from(units).unwrap_or(i64::MAX);
    // SAFETY: the caller's word.
    let left = unsafe {
        *fuel = (*fuel).saturating_sub(units).max(LEAST_FUEL);
        *fuel
    };
    if left < 0 { Err(TrapCode::OutOfFuel) } else { Ok(()) }
}

/// Ends with the reason of an interruption, if one is pending.
///
/// # Safety
///
/// `vm` is a live context.
unsafe fn poll(vm: *mut VmCtx) -> Result<(), TrapCode> {
    // SAFETY: contexts point to the words of their store, which are atomic.
    unsafe { (*(*vm).interrupts).poll() }
}

/// The range `start..start + len` as positions, if it lies within `size`.
fn within(start: u64, len: u64, size: usize) -> Option<(usize, usize)> {
    let end = start.checked_add(len)?;
    (end <= size as u64).then_some((start as usize, len as usize))
}

/// The trap of a failed growth that is not to be answered with -1.
pub(crate) fn growth_trap(store: &mut StoreInner, error: VmError) -> TrapCode {
    match error {
        VmError::Stopped(code) => code,
        VmError::Limiter(error) => {
            store.pending_error = Some(error);
            TrapCode::Internal
        }
        error => {
            store.pending_error = Some(Box::new(error));
            TrapCode::Internal
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cannot_wrap() {
        assert_eq!(within(0, 0, 0), Some((0, 0)));
        assert_eq!(within(10, 0, 10), Some((10, 0)));
        assert_eq!(within(11, 0, 10), None);
        assert_eq!(within(3, 7, 10), Some((3, 7)));
        assert_eq!(within(3, 8, 10), None);
        for (start, len) in [(u64::MAX, 1), (1, u64::MAX), (u64::MAX, u64::MAX), (u64::MAX, 0)] {
            assert_eq!(within(start, len, usize::MAX >> 1), None, "{start} {len}");
        }
    }

    #[test]
    fn fuel_stops_below_zero_and_never_wraps() {
        let mut fuel = 10;
        // SAFETY: a local.
        unsafe {
            assert_eq!(take_fuel(&mut fuel, 10), Ok(()));
            assert_eq!(take_fuel(&mut fuel, 0), Ok(()));
            assert_eq!(take_fuel(&mut fuel, 1), Err(TrapCode::OutOfFuel));
            assert_eq!(take_fuel(&mut fuel, u64::MAX), Err(TrapCode::OutOfFuel));
            assert_eq!(take_fuel(&mut fuel, u64::MAX), Err(TrapCode::OutOfFuel));
        }
        assert_eq!(fuel, LEAST_FUEL);
    }
}
