//! The address ranges in which an access of a guest may fault: reservations of its linear memories and of its heap of
//! objects.
//!
//! The signal handler reads the list on the store's own thread, while machine code runs; it is changed on the same
//! thread, by host code. So nothing but the pointer in the native state has to be kept right.

use super::NativeStore;
use crate::layout::NativeState;
use crate::store::StoreInner;

/// Start and end of each memory's reservation, by the memory's number in the store.
#[derive(Debug, Default)]
pub(crate) struct Ranges(Vec<(usize, usize)>);

impl StoreInner {
    /// Brings the list up to date with the store's memories, of which some were added or taken away at the end.
    pub(crate) fn update_ranges(&mut self) {
        if self.config.native.is_none() {
            return;
        }
        let NativeStore { ranges: Ranges(ranges), .. } = &mut self.native;
        ranges.truncate(self.memories.len());
        for memory in self.memories.iter().skip(ranges.len()) {
            ranges.push(memory.reservation());
        }
        let (list, count) = (ranges.as_ptr(), ranges.len());
        // SAFETY: the context is owned by the store, on its own thread.
        let state = unsafe { &mut (*self.ctx_ptr()).native };
        (state.ranges, state.range_count) = (list, count);
    }

    /// Notes where the heap of objects is.
    pub(crate) fn set_heap_range(&mut self, start: usize, end: usize) {
        // SAFETY: the context is owned by the store, on its own thread.
        unsafe { (*self.ctx_ptr()).native.heap_range = (start, end) };
    }
}

impl NativeState {
    /// Whether an access of the guest may fault at an address. Signal-safe.
    ///
    /// # Safety
    ///
    /// The store lives, and this is its own thread.
    pub(crate) unsafe fn may_fault_at(&self, address: usize) -> bool {
        let inside = |&(start, end): &(usize, usize)| start <= address && address < end;
        if inside(&self.heap_range) {
            return true;
        }
        // SAFETY: the list has that many entries, and changes on this thread alone.
        self.range_count > 0
            && unsafe { std::slice::from_raw_parts(self.ranges, self.range_count) }
                .iter()
                .any(inside)
    }
}
