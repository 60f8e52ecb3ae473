//! Exceptions as the host makes and reads them. (Engines: [`crate::builtins::gc`]. Fields: `field.rs`.)

use palisade_core::TrapCode;

use crate::gc::layout::EXN;
use crate::ids::TagId;
use crate::layout::VmRef;
use crate::store::StoreInner;

impl StoreInner {
    /// Makes an exception of a tag, its fields all zero, of `bytes` bytes. May collect, as
    /// [`StoreInner::gc_alloc`] says.
    pub fn alloc_exception(&mut self, tag: TagId, bytes: u32) -> Result<VmRef, TrapCode> {
        // No reference of a running guest is lost: what stands above `ref_fp` is nobody's while the host runs.
        // SAFETY: the caller made the size from the tag's type; tags live as long as the store.
        unsafe { self.gc_alloc(EXN, tag.0, u64::from(bytes), 0) }
    }

    /// The tag of an exception.
    ///
    /// # Safety
    ///
    /// The reference is to an exception.
    pub unsafe fn exception_tag(&self, exception: VmRef) -> Option<TagId> {
        // SAFETY: the second word of an exception is the number of its tag.
        let id = TagId(unsafe { self.gc_object(exception).cast::<u32>().add(1).read() });
        (id.index() < self.tags.len()).then_some(id)
    }
}
