//! [`Owned`]: a heap allocation that is freed with its owner, and reached through a raw pointer only.
//!
//! A `Box` claims to be the only way to its contents each time it moves. What engines point to is
//! shared with them, so it is kept in an `Owned`, which claims nothing.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// One value on the heap, at an address that does not change.
#[derive(Debug)]
pub(crate) struct Owned<T>(NonNull<T>);

impl<T> Owned<T> {
    /// Moves a value to the heap.
    pub(crate) fn new(value: T) -> Self {
        Self(NonNull::from(Box::leak(Box::new(value))))
    }

    /// Where it stands; valid as long as `self`.
    pub(crate) fn as_ptr(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from a leaked box in `new` and is freed here alone.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// What engines see of an object: on the heap, or in the context of the instance that it was made for.
#[derive(Debug)]
pub(crate) struct Definition<T> {
    at: NonNull<T>,
    /// Frees it, unless it stands in a context.
    _owned: Option<Owned<T>>,
}

impl<T> Definition<T> {
    /// Moves a value to the heap.
    pub(crate) fn new(value: T) -> Self {
        let owned = Owned::new(value);
        Self { at: owned.0, _owned: Some(owned) }
    }

    /// Where it stands; valid as long as `self`, and until [`Definition::move_to`].
    pub(crate) fn as_ptr(&self) -> *mut T {
        self.at.as_ptr()
    }

    /// Moves the value to a place of somebody else's.
    ///
    /// # Safety
    ///
    /// The place is aligned and may be written to, by nobody else meanwhile; it stays as long as `self` is used.
    /// Nobody keeps the old address.
    pub(crate) unsafe fn move_to(&mut self, place: NonNull<T>) {
        // SAFETY: both are valid by the caller's word and ours. The value is moved: nothing drops it here, for what
        // engines see has no destructor.
        unsafe { std::ptr::copy_nonoverlapping(self.at.as_ptr(), place.as_ptr(), 1) };
        const { assert!(!std::mem::needs_drop::<T>()) };
        *self = Self { at: place, _owned: None };
    }
}

/// A block of zeroed bytes at an address that does not change.
#[derive(Debug)]
pub(crate) struct Block {
    base: NonNull<u8>,
    layout: Layout,
}

impl Block {
    /// Allocates `bytes` zero bytes (at least one), aligned to `align`; `None` if there is no room.
    pub(crate) fn zeroed(bytes: usize, align: usize) -> Option<Self> {
        let layout = Layout::from_size_align(bytes.max(1), align).ok()?;
        // SAFETY: the layout has a size of at least one.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Self { base, layout })
    }

    /// The first byte; valid as long as `self`.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        self.layout.size()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this layout and freed here alone.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

#[cfg(test)]
mod tests {
    use std::ptr::NonNull;

    use super::{Block, Definition, Owned};

    #[test]
    fn owned_keeps_its_address_when_moved() {
        let owned = Owned::new(7u64);
        let at = owned.as_ptr();
        let moved = [owned];
        assert_eq!(moved[0].as_ptr(), at);
        // SAFETY: `moved` is alive.
        assert_eq!(unsafe { *at }, 7);
    }

    #[test]
    fn definitions_move_once() {
        let mut definition = Definition::new(7u64);
        let mut place = 0u64;
        // SAFETY: the place is a local, which outlives the definition and is not touched otherwise.
        unsafe { definition.move_to(NonNull::from(&mut place)) };
        // SAFETY: as above.
        assert_eq!(unsafe { *definition.as_ptr() }, 7);
        drop(definition);
        assert_eq!(place, 7);
    }

    #[test]
    fn blocks_are_zero_and_aligned_and_refuse_the_impossible() {
        let block = Block::zeroed(1000, 16).expect("a small block");
        assert_eq!(block.as_ptr() as usize % 16, 0);
        // SAFETY: the block holds this many initialised bytes.
        let bytes = unsafe { std::slice::from_raw_parts(block.as_ptr(), block.len()) };
        assert!(bytes.iter().all(|&b| b == 0));
        assert!(Block::zeroed(usize::MAX, 16).is_none());
        assert!(Block::zeroed(0, 16).is_some());
    }
}
