//! Globals: two cells each, so that vectors fit, at places that never move.
//!
//! Those that a module defines stand in the context of its instance, so that machine code finds them without a
//! pointer; those of the host stand on the heap. Types are kept beside, for imports and the host.

use palisade_core::GlobalType;

use crate::layout::{Cell, VmGlobalDef};

/// A global of a store.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Global {
    /// Its type.
    pub(crate) ty: GlobalType,
    /// Whether it holds a reference that a collection may have to change.
    pub(crate) refs: bool,
    /// Its cells, in a context of the store or on its heap.
    pub(crate) def: *mut VmGlobalDef,
}

impl Global {
    /// The value.
    pub(crate) fn get(&self) -> [Cell; 2] {
        // SAFETY: contexts live as long as the store, as do the host's globals, and only the store's own thread, which is
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
