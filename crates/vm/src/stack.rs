//! The stacks of guests: one of cells for values, one of [`VmRef`]s for the references that the
//! collector has to find. One pair for each store, between inaccessible pages.
//!
//! Engines check every frame against the ends; the pages around are there for the day on which one does
//! not. The stacks are fresh zero pages, and take memory only as far as they are used.

use crate::error::VmError;
use crate::layout::{Cell, VmRef};
use crate::sys::region::{Region, page_size, round_up};

/// Inaccessible bytes on each side of a stack.
const GUARD: usize = 64 << 10;

/// The stacks of one store.
#[derive(Debug)]
pub(crate) struct GuestStack {
    region: Region,
    value_start: usize,
    value_bytes: usize,
    ref_start: usize,
    ref_bytes: usize,
}

impl GuestStack {
    /// Stacks of `value_bytes` (rounded up to whole pages) and as many references as cells.
    pub(crate) fn new(value_bytes: usize) -> Result<Self, VmError> {
        let too_large = || VmError::TooLarge {
            what: "a guest stack",
            asked: value_bytes as u64,
            unit: "bytes",
        };
        let value_bytes = round_up(value_bytes.max(page_size())).ok_or_else(too_large)?;
        let ref_bytes = round_up(value_bytes / 2).ok_or_else(too_large)?;
        let total = value_bytes.checked_add(ref_bytes).and_then(|b| b.checked_add(3 * GUARD));
        let total = total.ok_or_else(too_large)?;
        let value_start = GUARD;
        let ref_start = value_start + value_bytes + GUARD;
        let failed = || VmError::system("the guest stacks", total as u64);
        let region = Region::reserve(total).map_err(failed())?;
        region.open(value_start, value_start + value_bytes).map_err(failed())?;
        region.open(ref_start, ref_start + ref_bytes).map_err(failed())?;
        Ok(Self { region, value_start, value_bytes, ref_start, ref_bytes })
    }

    fn at<T>(&self, offset: usize) -> *mut T {
        self.region.base().wrapping_add(offset).cast()
    }

    /// The first cell of the value stack.
    pub(crate) fn values(&self) -> *mut Cell {
        self.at(self.value_start)
    }

    /// One past the last cell of the value stack.
    pub(crate) fn values_end(&self) -> *mut Cell {
        self.at(self.value_start + self.value_bytes)
    }

    /// The first reference of the reference stack.
    pub(crate) fn refs(&self) -> *mut VmRef {
        self.at(self.ref_start)
    }

    /// One past the last reference of the reference stack.
    pub(crate) fn refs_end(&self) -> *mut VmRef {
        self.at(self.ref_start + self.ref_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_stacks_are_usable_to_the_last_and_zero_again_next_time() {
        for _ in 0..2 {
            let stack = GuestStack::new(100_000).expect("room");
            let cells = (stack.values_end() as usize - stack.values() as usize) / 8;
            let refs = (stack.refs_end() as usize - stack.refs() as usize) / 4;
            assert!(cells >= 12_500 && refs >= cells);
            // SAFETY: both ranges are open, zeroed and ours.
            unsafe {
                let cells = std::slice::from_raw_parts_mut(stack.values(), cells);
                let refs = std::slice::from_raw_parts_mut(stack.refs(), refs);
                assert!(cells.iter().all(|&c| c == 0) && refs.iter().all(|r| r.is_null()));
                cells.fill(0xDEAD_BEEF_DEAD_BEEF);
                refs.fill(VmRef(0xDEAD_BEEF));
            }
        }
    }

    #[test]
    fn absurd_sizes_are_errors() {
        for bytes in [usize::MAX, usize::MAX - (1 << 20), isize::MAX as usize] {
            assert!(matches!(GuestStack::new(bytes), Err(VmError::TooLarge { .. })));
        }
        assert!(matches!(GuestStack::new(1 << 60), Err(VmError::System { .. })));
        assert!(GuestStack::new(0).is_ok());
    }
}
