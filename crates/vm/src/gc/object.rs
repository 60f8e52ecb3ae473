//! Reading and writing objects, from the host's side and from built-ins.
//!
//! Values are cells, as everywhere: a function is its address, a reference its number. What does not fit the
//! object is an error, or stays within the heap's reservation; that kinds and offsets are those of the object's
//! type is the caller's word.

use palisade_core::{TrapCode, TypeId};

use super::layout::{ELEMENTS, EXN, EXTERN, FieldKind, HEAP_BYTES, MOVED};
use crate::layout::{Cell, VmRef};
use crate::store::StoreInner;

/// Bytes between two looks at the interruption flag.
const STEP: usize = 1 << 20;

impl StoreInner {
    /// The first byte of an object.
    pub fn gc_object(&self, reference: VmRef) -> *mut u8 {
        // SAFETY: the context is owned by the store; the offset stays within the heap's reservation.
        unsafe { (*self.ctx_ptr()).heap_base.wrapping_add(reference.0 as usize) }
    }

    /// The two words of an object's header.
    ///
    /// # Safety
    ///
    /// The reference leads to an object of this store: it is neither null nor an `i31`.
    pub unsafe fn gc_header(&self, object: VmRef) -> [u32; 2] {
        // SAFETY: objects have at least 8 bytes and begin with their header.
        unsafe { self.gc_object(object).cast::<[u32; 2]>().read() }
    }

    /// The type of a structure or an array; `None` for everything else that a reference can be.
    ///
    /// # Safety
    ///
    /// The reference is valid: null, an `i31`, or an object of this store.
    pub unsafe fn gc_type(&self, reference: VmRef) -> Option<TypeId> {
        if reference.is_null() || reference.0 & 1 == 1 {
            return None;
        }
        // SAFETY: as just checked.
        let [word, _] = unsafe { self.gc_header(reference) };
        (!matches!(word, EXTERN | EXN | MOVED)).then_some(TypeId(word))
    }

    /// Reads a field, or an element, that stands so many bytes into an object. Small integers are
    /// zero-extended.
    ///
    /// # Safety
    ///
    /// The object is one of this store and has such a field there.
    pub unsafe fn gc_read(&self, object: VmRef, offset: u64, kind: FieldKind) -> [Cell; 2] {
        let at = self.gc_object(object).wrapping_add(offset as usize);
        // SAFETY: the caller's word; fields are aligned to their size, vectors to 8.
        unsafe {
            match kind {
                FieldKind::I8 => [at.read().into(), 0],
                FieldKind::I16 => [at.cast::<u16>().read().into(), 0],
                FieldKind::B4 | FieldKind::Ref => [at.cast::<u32>().read().into(), 0],
                FieldKind::B8 => [at.cast::<u64>().read(), 0],
                FieldKind::B16 => at.cast::<[u64; 2]>().read(),
                FieldKind::Func => {
                    let func = self.heap.func_of_number(at.cast::<u32>().read());
                    [func.expose_provenance() as Cell, 0]
                }
            }
        }
    }

    /// Writes a field, or an element, that stands so many bytes into an object.
    ///
    /// # Safety
    ///
    /// The object is one of this store and has such a field there; the value is of its type, and valid now.
    pub unsafe fn gc_write(
        &mut self,
        object: VmRef,
        offset: u64,
        kind: FieldKind,
        value: [Cell; 2],
    ) -> Result<(), TrapCode> {
        let value = self.gc_stored(kind, value)?;
        let at = self.gc_object(object).wrapping_add(offset as usize);
        // SAFETY: the caller's word.
        unsafe { fill(at, kind, value, 1) };
        Ok(())
    }

    /// Writes a value to elements `at..at + len` of an array, looking at the interruption flag.
    ///
    /// # Safety
    ///
    /// The object is an array of this store with such elements, and the value is one, valid now.
    pub unsafe fn gc_fill(
        &mut self,
        array: VmRef,
        kind: FieldKind,
        at: u32,
        value: [Cell; 2],
        len: u32,
    ) -> Result<(), TrapCode> {
        // SAFETY: the caller's word.
        let to = unsafe { self.gc_elements(array, kind, at, len)? };
        let value = self.gc_stored(kind, value)?;
        let step = STEP >> kind.log2();
        let (len, mut done) = (len as usize, 0);
        while done < len {
            let count = step.min(len - done);
            // SAFETY: the range was checked, and nothing moves it meanwhile.
            unsafe { fill(to.add(done << kind.log2()), kind, value, count) };
            done += count;
            if done < len {
                self.interrupts().poll()?;
            }
        }
        Ok(())
    }

    /// Where elements `at..at + len` of an array stand, if it has them.
    ///
    /// # Safety
    ///
    /// The object is an array of this store with such elements.
    pub unsafe fn gc_elements(
        &self,
        array: VmRef,
        kind: FieldKind,
        at: u32,
        len: u32,
    ) -> Result<*mut u8, TrapCode> {
        // SAFETY: the caller's word.
        let [_, found] = unsafe { self.gc_header(array) };
        let end = u64::from(at) + u64::from(len);
        if end > u64::from(found) {
            return Err(TrapCode::ArrayOutOfBounds);
        }
        // Whatever stands where the length should be: nothing past the heap is touched.
        if u64::from(array.0) + u64::from(ELEMENTS) + (end << kind.log2()) > HEAP_BYTES {
            return Err(TrapCode::Internal);
        }
        let offset = u64::from(ELEMENTS) + (u64::from(at) << kind.log2());
        Ok(self.gc_object(array).wrapping_add(offset as usize))
    }

    /// A value as it stands in an object.
    fn gc_stored(&mut self, kind: FieldKind, value: [Cell; 2]) -> Result<[Cell; 2], TrapCode> {
        if kind != FieldKind::Func {
            return Ok(value);
        }
        let func = std::ptr::with_exposed_provenance_mut(value[0] as usize);
        let number = self.heap.func_number(func).ok_or(TrapCode::HeapExhausted)?;
        Ok([number.into(), 0])
    }
}

/// Writes the same value, as it stands in objects, to `count` elements.
///
/// # Safety
///
/// So many elements may be written at `at`, which is aligned for them (vectors to 8).
unsafe fn fill(at: *mut u8, kind: FieldKind, value: [Cell; 2], count: usize) {
    let [low, high] = value;
    // SAFETY: passed on to the caller.
    unsafe {
        match kind {
            FieldKind::I8 => std::ptr::write_bytes(at, low as u8, count),
            FieldKind::I16 => std::slice::from_raw_parts_mut(at.cast(), count).fill(low as u16),
            FieldKind::B4 | FieldKind::Ref | FieldKind::Func => {
                std::slice::from_raw_parts_mut(at.cast(), count).fill(low as u32);
            }
            FieldKind::B8 => std::slice::from_raw_parts_mut(at.cast(), count).fill(low),
            FieldKind::B16 => std::slice::from_raw_parts_mut(at.cast(), count).fill([low, high]),
        }
    }
}
