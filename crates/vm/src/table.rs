//! Tables: where their elements stand, current length, growth.
//!
//! Elements are 8 bytes (addresses of function references) or 4 bytes ([`crate::VmRef`]), and null is
//! all zeros, so that a fresh table of nulls takes no memory until it is written to, however large.
//! Growth may move the elements; engines read [`VmTableDef`] each time. Bytes past the current length
//! that were ever written are written again before they show.

use std::ptr::NonNull;

use palisade_core::{TableType, TrapCode};

use crate::error::VmError;
use crate::ids::RefBits;
use crate::layout::{VmRef, VmTableDef};
use crate::owned::{Block, Definition};
use crate::sys::region::Region;

/// Elements between two looks at the interruption flag.
pub(crate) const STEP: usize = 128 << 10;

/// From this size on, elements have mappings of their own.
const MAPPED_FROM: usize = 64 << 10;

/// The bytes behind a table's elements.
#[derive(Debug)]
enum Storage {
    Small(Block),
    Mapped(Region),
}

impl Storage {
    /// At least `bytes` zero bytes.
    fn zeroed(bytes: usize) -> std::io::Result<Self> {
        if bytes < MAPPED_FROM {
            let block = Block::zeroed(bytes, 8).ok_or(std::io::ErrorKind::OutOfMemory)?;
            return Ok(Self::Small(block));
        }
        Region::zeroed(bytes).map(Self::Mapped)
    }

    fn base(&self) -> *mut u8 {
        match self {
            Self::Small(block) => block.as_ptr(),
            Self::Mapped(region) => region.base(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Small(block) => block.len(),
            Self::Mapped(region) => region.len(),
        }
    }

    /// Makes room for `bytes` bytes, zero past the ones there were. On failure nothing changes.
    fn reserve(&mut self, bytes: usize) -> std::io::Result<()> {
        if bytes <= self.len() {
            return Ok(());
        }
        // Half more than asked for, so that growing in small steps is linear.
        let ample = bytes.saturating_add(bytes / 2);
        match self {
            Self::Mapped(region) => region.lengthen(ample).or_else(|_| region.lengthen(bytes)),
            Self::Small(block) => {
                let larger = Self::zeroed(ample).or_else(|_| Self::zeroed(bytes))?;
                // SAFETY: both are live and distinct, and the new one is the larger.
                unsafe {
                    std::ptr::copy_nonoverlapping(block.as_ptr(), larger.base(), block.len());
                }
                *self = larger;
                Ok(())
            }
        }
    }
}

/// A table of a store.
#[derive(Debug)]
pub(crate) struct Table {
    ty: TableType,
    /// Whether its elements are function references.
    funcs: bool,
    storage: Storage,
    /// From this element on, the storage has never been written to.
    clean_from: usize,
    def: Definition<VmTableDef>,
}

impl Table {
    /// The most elements that a table of this type may have.
    pub(crate) fn maximum_of(ty: &TableType) -> u64 {
        let most = if ty.table64 { u64::MAX } else { u64::from(u32::MAX) };
        ty.maximum.unwrap_or(most).min(most)
    }

    /// Makes a table of its minimum size, all `init`. `poll` may stop it.
    ///
    /// # Safety
    ///
    /// `init` is a reference of the element type, and its target lives as long as the table.
    pub(crate) unsafe fn new(
        ty: TableType,
        funcs: bool,
        init: RefBits,
        poll: impl Fn() -> Result<(), TrapCode>,
    ) -> Result<Self, VmError> {
        let too_large =
            || VmError::TooLarge { what: "a table", asked: ty.minimum, unit: "elements" };
        if ty.maximum.is_some_and(|maximum| maximum < ty.minimum) {
            return Err(VmError::InvalidType("a table's minimum is larger than its maximum"));
        }
        if ty.minimum > Self::maximum_of(&TableType { maximum: None, ..ty }) {
            return Err(too_large());
        }
        let len = usize::try_from(ty.minimum).map_err(|_| too_large())?;
        let bytes = byte_len(len, funcs).ok_or_else(too_large)?;
        let storage = Storage::zeroed(bytes).map_err(VmError::system("a table", bytes as u64))?;
        let def = Definition::new(VmTableDef { base: storage.base(), len: 0 });
        let mut table = Self { ty, funcs, storage, clean_from: 0, def };
        // SAFETY: passed on to the caller.
        unsafe { table.extend(len, init, poll)? };
        Ok(table)
    }

    /// What engines see of it.
    pub(crate) fn def(&self) -> *mut VmTableDef {
        self.def.as_ptr()
    }

    /// Lets engines see it at a place in the context of the instance that it was made for.
    ///
    /// # Safety
    ///
    /// As [`Definition::move_to`].
    pub(crate) unsafe fn place(&mut self, place: NonNull<VmTableDef>) {
        // SAFETY: passed on to the caller.
        unsafe { self.def.move_to(place) };
    }

    /// Whether its elements are function references.
    pub(crate) fn funcs(&self) -> bool {
        self.funcs
    }

    /// Its elements, if a collection may have to change them, and how many there are.
    pub(crate) fn refs(&self) -> Option<(*mut VmRef, usize)> {
        (!self.funcs).then(|| (self.storage.base().cast(), self.len()))
    }

    /// How many elements there are.
    pub(crate) fn len(&self) -> usize {
        // SAFETY: the definition lives as long as `self`, and changes in `extend` alone.
        unsafe { (*self.def()).len }
    }

    /// The declared type.
    pub(crate) fn declared(&self) -> &TableType {
        &self.ty
    }

    /// The type, with the current size as the minimum.
    pub(crate) fn ty(&self) -> TableType {
        TableType { minimum: self.len() as u64, ..self.ty }
    }

    /// An element.
    pub(crate) fn get(&self, index: u64) -> Option<RefBits> {
        let index = usize::try_from(index).ok().filter(|&i| i < self.len())?;
        // SAFETY: the index lies within the elements.
        Some(unsafe { read(self.storage.base(), self.funcs, index) })
    }

    /// Sets an element; `false` if there is no such element.
    ///
    /// # Safety
    ///
    /// `value` is a reference of the element type, and its target lives as long as the table.
    pub(crate) unsafe fn set(&mut self, index: u64, value: RefBits) -> bool {
        match usize::try_from(index).ok().filter(|&i| i < self.len()) {
            // SAFETY: the index lies within the elements.
            Some(index) => unsafe { write(self.storage.base(), self.funcs, index, value) },
            None => return false,
        }
        true
    }

    /// Adds `delta` elements, all `init`; limits and the maximum have been checked. On failure, and
    /// when `poll` stops it, nothing that shows has changed.
    ///
    /// # Safety
    ///
    /// `init` is a reference of the element type, and its target lives as long as the table.
    pub(crate) unsafe fn extend(
        &mut self,
        delta: usize,
        init: RefBits,
        poll: impl Fn() -> Result<(), TrapCode>,
    ) -> Result<(), VmError> {
        let too_large =
            || VmError::TooLarge { what: "a table", asked: delta as u64, unit: "more elements" };
        let old = self.len();
        let new = old.checked_add(delta).ok_or_else(too_large)?;
        let bytes = byte_len(new, self.funcs).ok_or_else(too_large)?;
        let reserved = self.storage.reserve(bytes);
        // SAFETY: the definition lives as long as `self`; engines of this store read it on the
        // store's own thread, which is here. The old elements are at the base in any case.
        unsafe { (*self.def()).base = self.storage.base() };
        reserved.map_err(VmError::system("a growing table", bytes as u64))?;
        // What has never been written to is null already.
        let end = if init == 0 { new.min(self.clean_from) } else { new };
        let mut at = old;
        while at < end {
            let to = at.saturating_add(STEP).min(end);
            // SAFETY: `at..to` lies within the storage, past the elements that show.
            unsafe { fill(self.storage.base(), self.funcs, at, to - at, init) };
            if init != 0 {
                self.clean_from = self.clean_from.max(to);
            }
            at = to;
            if at < end {
                poll().map_err(VmError::Stopped)?;
            }
        }
        // Elements that show can be written to by anyone.
        self.clean_from = self.clean_from.max(new);
        // SAFETY: as above.
        unsafe { (*self.def()).len = new };
        Ok(())
    }
}

/// The size of `len` elements; `None` if it is more than there can be.
fn byte_len(len: usize, funcs: bool) -> Option<usize> {
    let bytes = len.checked_mul(element_size(funcs))?;
    isize::try_from(bytes).ok().map(|_| bytes)
}

/// The size of an element.
pub(crate) const fn element_size(funcs: bool) -> usize {
    if funcs { 8 } else { 4 }
}

/// Reads an element.
///
/// # Safety
///
/// `base` points to more than `index` elements.
pub(crate) unsafe fn read(base: *const u8, funcs: bool, index: usize) -> RefBits {
    // SAFETY: the element lies within, by the caller's word, and the base is aligned to 8.
    unsafe {
        if funcs {
            base.cast::<*mut ()>().add(index).read().expose_provenance() as u64
        } else {
            u64::from(base.cast::<u32>().add(index).read())
        }
    }
}

/// Writes an element.
///
/// # Safety
///
/// `base` points to more than `index` elements.
pub(crate) unsafe fn write(base: *mut u8, funcs: bool, index: usize, value: RefBits) {
    // SAFETY: the element lies within, by the caller's word, and the base is aligned to 8.
    unsafe {
        if funcs {
            let pointer = std::ptr::with_exposed_provenance_mut::<()>(value as usize);
            base.cast::<*mut ()>().add(index).write(pointer);
        } else {
            base.cast::<u32>().add(index).write(value as u32);
        }
    }
}

/// Writes the same value to `count` elements from `start` on.
///
/// # Safety
///
/// `base` points to at least `start + count` elements.
pub(crate) unsafe fn fill(base: *mut u8, funcs: bool, start: usize, count: usize, value: RefBits) {
    for index in start..start.saturating_add(count) {
        // SAFETY: within, by the caller's word.
        unsafe { write(base, funcs, index, value) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::region::fail_after;
    use palisade_core::RefType;

    fn ty(minimum: u64, maximum: Option<u64>) -> TableType {
        TableType { element: RefType::EXTERNREF, table64: true, minimum, maximum }
    }

    fn table(minimum: u64, init: RefBits) -> Result<Table, VmError> {
        // SAFETY: numbers of the extern family refer to nothing.
        unsafe { Table::new(ty(minimum, None), false, init, || Ok(())) }
    }

    fn grow(table: &mut Table, delta: usize, init: RefBits) -> Result<(), VmError> {
        // SAFETY: as above.
        unsafe { table.extend(delta, init, || Ok(())) }
    }

    #[test]
    fn m3_sizes_that_overflow_are_errors() {
        for minimum in [u64::MAX, 1 << 61, 1 << 62, (1 << 61) + 1, 1 << 60] {
            for funcs in [false, true] {
                // SAFETY: null is of every nullable type.
                let made = unsafe { Table::new(ty(minimum, None), funcs, 0, || Ok(())) };
                assert!(
                    matches!(made, Err(VmError::TooLarge { .. } | VmError::System { .. })),
                    "{minimum}"
                );
            }
        }
        let mut table = table(5, 0).expect("a small table");
        for delta in [usize::MAX, usize::MAX - 4, 1 << 61, (1 << 61) - 5] {
            assert!(grow(&mut table, delta, 0).is_err(), "{delta}");
        }
        assert_eq!(table.len(), 5);
    }

    #[test]
    fn growth_keeps_elements_and_fills_the_new_ones_in_both_storages() {
        let mut table = table(3, 2).expect("a small table");
        let mut expected = vec![2; 3];
        for (delta, init) in [(0, 8), (1, 4), (20_000, 0), (1, 6), (300_000, 8), (70_000, 0)] {
            grow(&mut table, delta, init).expect("room");
            expected.extend(std::iter::repeat_n(init, delta));
            assert_eq!(table.len(), expected.len());
            // SAFETY: the definition is alive.
            assert_eq!(unsafe { (*table.def()).base }, table.storage.base());
        }
        let found: Vec<_> = (0..expected.len() as u64).filter_map(|i| table.get(i)).collect();
        assert!(found == expected);
        assert_eq!(table.get(expected.len() as u64), None);
        assert_eq!(table.get(u64::MAX), None);
    }

    #[test]
    fn m2_a_stopped_or_failed_growth_shows_nothing_then_or_later() {
        let mut table = table(10, 2).expect("a small table");
        let calls = std::cell::Cell::new(0);
        // SAFETY: numbers of the extern family refer to nothing.
        let stopped = unsafe {
            table.extend(5 * STEP, 0xAAAA, || {
                calls.set(calls.get() + 1);
                if calls.get() == 3 { Err(TrapCode::Interrupted) } else { Ok(()) }
            })
        };
        assert!(matches!(stopped, Err(VmError::Stopped(TrapCode::Interrupted))));
        assert_eq!(table.len(), 10);
        fail_after(Some(0));
        assert!(matches!(grow(&mut table, 50 * STEP, 2), Err(VmError::System { .. })));
        fail_after(None);
        assert_eq!((table.len(), table.get(9), table.get(10)), (10, Some(2), None));
        grow(&mut table, 5 * STEP, 0).expect("room");
        assert!((10..5 * STEP as u64 + 10).all(|i| table.get(i) == Some(0)));
    }

    #[test]
    fn huge_tables_of_null_take_no_memory_until_used() {
        let mut table = table(1 << 31, 0).expect("8 GiB of address space");
        assert_eq!(table.get((1 << 31) - 1), Some(0));
        // SAFETY: numbers of the extern family refer to nothing.
        assert!(unsafe { table.set((1 << 31) - 1, 2) });
        assert_eq!(table.get((1 << 31) - 1), Some(2));
        // SAFETY: as above.
        assert!(!unsafe { table.set(1 << 31, 2) });
    }
}
