//! Globals: two cells each, so that vectors fit, in slabs that never move.
//!
//! The globals of one instance share a slab. Types are kept beside, for imports and the host.

use palisade_core::GlobalType;

use crate::error::VmError;
use crate::layout::{Cell, VmGlobalDef};
use crate::owned::Block;

/// The cells of globals that were made together.
#[derive(Debug)]
pub(crate) struct GlobalSlab {
    block: Block,
    count: usize,
}

impl GlobalSlab {
    /// `count` globals, all zero.
    pub(crate) fn new(count: usize) -> Result<Self, VmError> {
        let bytes = count.saturating_mul(size_of::<VmGlobalDef>());
        let block = Block::zeroed(bytes, align_of::<VmGlobalDef>()).ok_or(VmError::TooLarge {
            what: "a module's set of globals",
            asked: count as u64,
            unit: "globals",
        })?;
        Ok(Self { block, count })
    }

    /// Where a global stands; null if there is no such one.
    pub(crate) fn def(&self, index: usize) -> *mut VmGlobalDef {
        if index >= self.count {
            return std::ptr::null_mut();
        }
        self.block.as_ptr().cast::<VmGlobalDef>().wrapping_add(index)
    }
}

/// A global of a store.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Global {
    /// Its type.
    pub(crate) ty: GlobalType,
    /// Whether it holds a reference that a collection may have to change.
    pub(crate) refs: bool,
    /// Its cells, in one of the store's slabs.
    pub(crate) def: *mut VmGlobalDef,
}

impl Global {
    /// The value.
    pub(crate) fn get(&self) -> [Cell; 2] {
        // SAFETY: the slab lives as long as the store, and only the store's own thread, which is
        // here, touches it.
        unsafe { (*self.def).cells.get().read() }
    }

    /// Sets the value.
    ///
    /// # Safety
    ///
    /// The cells hold a value of the global's type.
    pub(crate) unsafe fn set(&self, cells: [Cell; 2]) {
        // SAFETY: as in `get`.
        unsafe { (*self.def).cells.get().write(cells) };
    }
}
