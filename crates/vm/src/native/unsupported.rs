//! The twin of the module for x86-64 on processors that there is no machine code for: nothing is ever entered, since no
//! [`super::CodeRegistry`] can be made.

use libc::c_void;
use palisade_core::TrapCode;

use crate::layout::{Cell, VmStoreCtx};

/// There are no wrappers.
pub(crate) fn wrapper(_: usize) -> usize {
    0
}

/// There are no wrappers.
pub(crate) fn in_wrapper(_: usize) -> bool {
    false
}

/// Fails.
///
/// # Safety
///
/// None.
pub(crate) unsafe fn enter(
    _: *mut VmStoreCtx,
    _: *const u8,
    _: *const u8,
    _: *mut u8,
    _: *mut Cell,
    _: usize,
) -> u64 {
    TrapCode::Internal as u64
}

/// Registers that nobody reads.
#[derive(Copy, Clone)]
pub(crate) struct Registers;

impl Registers {
    /// # Safety
    ///
    /// None.
    pub(crate) unsafe fn new(_: *mut c_void) -> Self {
        Self
    }

    /// The instruction: none.
    pub(crate) fn pc(self) -> usize {
        0
    }

    /// The stack pointer: none.
    pub(crate) fn sp(self) -> usize {
        0
    }

    /// The frame pointer: none.
    pub(crate) fn fp(self) -> usize {
        0
    }

    /// Does nothing.
    pub(crate) fn leave(self, _: *mut VmStoreCtx, _: usize, _: u64) {}
}
