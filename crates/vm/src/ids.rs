//! Names for what a store holds: plain numbers, given in order, never reused while the store lives
//! (an instantiation that fails before anyone could see its objects gives its numbers back).
//!
//! An id says nothing about its store. Whoever hands ids out must see to it that they come back to
//! the same one; an id that a store does not know is answered with `None` or an error, never with
//! a panic.

macro_rules! ids {
    ($( $(#[$doc:meta])* $name:ident; )*) => {$(
        $(#[$doc])*
        #[derive(Copy, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        #[repr(transparent)]
        pub struct $name(pub u32);

        impl $name {
            /// The id as a position in the store's list.
            pub fn index(self) -> usize {
                self.0 as usize
            }

            /// The id of the next object, when there are `count`.
            pub(crate) fn next(count: usize) -> Option<Self> {
                u32::try_from(count).ok().map(Self)
            }
        }
    )*};
}

ids! {
    /// A linear memory of a store.
    MemoryId;
    /// A table of a store.
    TableId;
    /// A global of a store.
    GlobalId;
    /// A tag of a store.
    TagId;
    /// An instance of a store; the same number as [`crate::VmCtx::instance_index`].
    InstanceId;
}

/// A reference as bits: the address of a [`crate::VmFuncRef`] (0 for null) in the function family,
/// [`crate::VmRef`]'s number in all others.
pub type RefBits = u64;
