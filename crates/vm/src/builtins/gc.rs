//! Objects of the heap, for engines: allocation, bulk work on arrays, casts, functions in objects, exceptions.
//!
//! `live` is how many references of the running frame's window, from `ref_fp` on, are in use: those are
//! roots of a collection that an allocation may start, and are changed by it. Whoever calls reads
//! its operands from the window again after an allocation.

use palisade_core::{TrapCode, TypeId, fuel};
use palisade_module::{DataIdx, ElemIdx};

use super::memory::copy_bytes;
use super::table::element;
use super::{charge, instance, poll, store, within};
use crate::gc::RefTarget;
use crate::gc::layout::{EXN, FieldKind, LARGEST_OBJECT, array_bytes};
use crate::layout::{Cell, VmCtx, VmFuncRef, VmRef};

/// Elements of a segment between two looks at the interruption flag.
const ELEMENT_STEP: usize = 128 << 10;

/// Makes a structure of `bytes` bytes, all zero but for its header, and charges for it.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread; `ty` is a structure type with objects of that size.
pub unsafe fn struct_new(
    vm: *mut VmCtx,
    ty: TypeId,
    bytes: u32,
    live: u32,
) -> Result<VmRef, TrapCode> {
    // SAFETY: passed on to the caller.
    unsafe { object_new(vm, ty.0, 0, u64::from(bytes), live) }
}

/// Charges for an object, and makes it.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread; the words and the size are those of an object.
unsafe fn object_new(
    vm: *mut VmCtx,
    word0: u32,
    word1: u32,
    bytes: u64,
    live: u32,
) -> Result<VmRef, TrapCode> {
    if bytes > LARGEST_OBJECT {
        return Err(TrapCode::AllocationTooLarge);
    }
    // SAFETY: passed on to the caller.
    unsafe {
        charge(vm, fuel::bytes(bytes))?;
        (*store(vm)).gc_alloc(word0, word1, bytes, live)
    }
}

/// Makes an array of `len` elements, all zero, and charges for it.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread; `ty` is an array type with such elements.
pub unsafe fn array_new(
    vm: *mut VmCtx,
    ty: TypeId,
    kind: FieldKind,
    len: u32,
    live: u32,
) -> Result<VmRef, TrapCode> {
    // SAFETY: passed on to the caller.
    unsafe { object_new(vm, ty.0, len, array_bytes(kind, len), live) }
}

/// `array.new_data`: an array of `len` elements from byte `from` of data segment `data`. Charges for the
/// object, once.
///
/// # Safety
///
/// As [`array_new`]; the elements are numbers or vectors.
pub unsafe fn array_new_data(
    vm: *mut VmCtx,
    ty: TypeId,
    kind: FieldKind,
    data: u32,
    from: u32,
    len: u32,
    live: u32,
) -> Result<VmRef, TrapCode> {
    // SAFETY: passed on to the caller; the array was just made with that many elements, and segments
    // do not change meanwhile.
    unsafe {
        let bytes = segment_bytes(vm, data, from, kind, len)?;
        let array = array_new(vm, ty, kind, len, live)?;
        let to = elements(vm, array, kind, 0, len)?;
        copy_bytes(vm, to, bytes.as_ptr(), bytes.len(), std::ptr::copy)?;
        Ok(array)
    }
}

/// `array.new_elem`: an array of `len` elements from element `from` of element segment `elem`. Charges for
/// the object, once.
///
/// # Safety
///
/// As [`array_new`]; the elements are references of the segment's type.
pub unsafe fn array_new_elem(
    vm: *mut VmCtx,
    ty: TypeId,
    kind: FieldKind,
    elem: u32,
    from: u32,
    len: u32,
    live: u32,
) -> Result<VmRef, TrapCode> {
    // SAFETY: passed on to the caller; the array was just made with that many elements.
    unsafe {
        check_elements(vm, elem, from, len)?;
        let array = array_new(vm, ty, kind, len, live)?;
        copy_elements(vm, elements(vm, array, kind, 0, len)?, kind, elem, from, len)?;
        Ok(array)
    }
}

/// `array.init_data`: elements `to..to + len` from byte `from` of data segment `data`. Charges by length.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread; `array` is null or an array of such elements, which are
/// numbers or vectors.
pub unsafe fn array_init_data(
    vm: *mut VmCtx,
    array: VmRef,
    kind: FieldKind,
    data: u32,
    to: u32,
    from: u32,
    len: u32,
) -> Result<(), TrapCode> {
    // SAFETY: passed on to the caller; the range is checked before it is written.
    unsafe {
        let to = elements(vm, array, kind, to, len)?;
        let bytes = segment_bytes(vm, data, from, kind, len)?;
        charge(vm, fuel::bytes(bytes.len() as u64))?;
        copy_bytes(vm, to, bytes.as_ptr(), bytes.len(), std::ptr::copy)
    }
}

/// `array.init_elem`: elements `to..to + len` from element `from` of element segment `elem`. Charges by
/// length.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread; `array` is null or an array of references of the segment's
/// type.
pub unsafe fn array_init_elem(
    vm: *mut VmCtx,
    array: VmRef,
    kind: FieldKind,
    elem: u32,
    to: u32,
    from: u32,
    len: u32,
) -> Result<(), TrapCode> {
    // SAFETY: passed on to the caller; the range is checked before it is written.
    unsafe {
        let to = elements(vm, array, kind, to, len)?;
        check_elements(vm, elem, from, len)?;
        charge(vm, fuel::bytes(u64::from(len) << kind.log2()))?;
        copy_elements(vm, to, kind, elem, from, len)
    }
}

/// `array.fill` (and `array.new`, after [`array_new`]): elements `to..to + len` to a value. Charges by
/// length. `value` is what stands in cells (a function as its address, a reference zero-extended).
///
/// # Safety
///
/// `vm` is a live context, on its store's thread; `array` is null or an array of such elements, and the value is
/// one.
pub unsafe fn array_fill(
    vm: *mut VmCtx,
    array: VmRef,
    kind: FieldKind,
    to: u32,
    value: [Cell; 2],
    len: u32,
) -> Result<(), TrapCode> {
    if array.is_null() {
        return Err(TrapCode::NullArrayReference);
    }
    // SAFETY: passed on to the caller; the range is checked before anything is charged or written.
    unsafe {
        (*store(vm)).gc_elements(array, kind, to, len)?;
        charge(vm, fuel::bytes(u64::from(len) << kind.log2()))?;
        (*store(vm)).gc_fill(array, kind, to, value, len)
    }
}

/// `array.copy`: `len` elements of `source` from `from` on to `array` from `to` on. Charges by length.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread; both are null or arrays of such elements.
pub unsafe fn array_copy(
    vm: *mut VmCtx,
    kind: FieldKind,
    array: VmRef,
    to: u32,
    source: VmRef,
    from: u32,
    len: u32,
) -> Result<(), TrapCode> {
    // SAFETY: passed on to the caller; both ranges are checked before anything is written.
    unsafe {
        let to = elements(vm, array, kind, to, len)?;
        let from = elements(vm, source, kind, from, len)?;
        let bytes = (len as usize) << kind.log2();
        charge(vm, fuel::bytes(bytes as u64))?;
        copy_bytes(vm, to, from, bytes, std::ptr::copy)
    }
}

/// Where elements `at..at + len` of an array stand, until something is allocated. The array may be null.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread; `array` is null or an array of such elements.
unsafe fn elements(
    vm: *mut VmCtx,
    array: VmRef,
    kind: FieldKind,
    at: u32,
    len: u32,
) -> Result<*mut u8, TrapCode> {
    if array.is_null() {
        return Err(TrapCode::NullArrayReference);
    }
    // SAFETY: passed on to the caller.
    unsafe { (*store(vm)).gc_elements(array, kind, at, len) }
}

/// The bytes of a data segment that `len` such elements from byte `from` on take. A dropped segment is empty.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread, and the instance is not changed while the bytes are held.
unsafe fn segment_bytes<'a>(
    vm: *mut VmCtx,
    data: u32,
    from: u32,
    kind: FieldKind,
    len: u32,
) -> Result<&'a [u8], TrapCode> {
    if matches!(kind, FieldKind::Ref | FieldKind::Func) {
        return Err(TrapCode::Internal);
    }
    // SAFETY: passed on to the caller.
    let instance = unsafe { instance(vm) };
    let bytes = match instance.data(DataIdx(data)) {
        Some(segment) => {
            instance.module.bytes.get(segment.range.clone()).ok_or(TrapCode::Internal)?
        }
        None => &[],
    };
    let len = u64::from(len) << kind.log2();
    let (from, len) =
        within(u64::from(from), len, bytes.len()).ok_or(TrapCode::MemoryOutOfBounds)?;
    bytes.get(from..from + len).ok_or(TrapCode::Internal)
}

/// Whether an element segment has elements `from..from + len`. A dropped segment is empty.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread.
unsafe fn check_elements(vm: *mut VmCtx, elem: u32, from: u32, len: u32) -> Result<(), TrapCode> {
    // SAFETY: passed on to the caller.
    let segment = unsafe { instance(vm) }.elements(ElemIdx(elem));
    let count = segment.map_or(0, |segment| segment.items.len());
    let found = within(u64::from(from), u64::from(len), count);
    found.map(|_| ()).ok_or(TrapCode::TableOutOfBounds)
}

/// Copies elements of a segment, which has them, to `to`. Nothing is allocated meanwhile: elements whose
/// expressions allocate were evaluated when the instance was made.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread; so many elements of the segment's type may be written.
unsafe fn copy_elements(
    vm: *mut VmCtx,
    to: *mut u8,
    kind: FieldKind,
    elem: u32,
    from: u32,
    len: u32,
) -> Result<(), TrapCode> {
    if !matches!(kind, FieldKind::Ref | FieldKind::Func) {
        return Err(TrapCode::Internal);
    }
    // SAFETY: passed on to the caller; nothing changes the instance meanwhile.
    let instance = unsafe { instance(vm) };
    // A dropped segment has no elements, and then there are none to copy.
    let Some(segment) = instance.elements(ElemIdx(elem)) else { return Ok(()) };
    for offset in 0..len as usize {
        // SAFETY: passed on to the caller; the range was checked, and elements of both kinds have 4 bytes; numbers of functions are
        // the store's own.
        unsafe {
            let value = element(vm, instance, elem, &segment.items, from as usize + offset)?;
            let word = match kind {
                FieldKind::Func => {
                    func_number(vm, std::ptr::with_exposed_provenance_mut(value as usize))?
                }
                _ => value as u32,
            };
            to.cast::<u32>().add(offset).write(word);
            if offset % ELEMENT_STEP == ELEMENT_STEP - 1 {
                poll(vm)?;
            }
        }
    }
    Ok(())
}

/// Whether a reference of the `any`, `extern` or `exn` family is of a type of the same family.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread; the reference is valid.
pub unsafe fn ref_is(vm: *mut VmCtx, reference: VmRef, target: RefTarget) -> bool {
    // SAFETY: passed on to the caller.
    unsafe { (*store(vm)).gc_is(reference, target) }
}

/// Whether a reference to a function is of a type of that family.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread; the reference is null or one of this store.
pub unsafe fn func_is(vm: *mut VmCtx, func: *const VmFuncRef, target: RefTarget) -> bool {
    use palisade_core::HeapType as H;
    if func.is_null() {
        return target.nullable;
    }
    match target.heap {
        H::Func => true,
        // SAFETY: passed on to the caller.
        H::Concrete(id) => unsafe { super::is_subtype(vm, (*func).type_id, id) },
        _ => false,
    }
}

/// The number by which objects refer to a function.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread; the reference is null or one of this store.
pub unsafe fn func_number(vm: *mut VmCtx, func: *mut VmFuncRef) -> Result<u32, TrapCode> {
    // SAFETY: passed on to the caller.
    unsafe { (*store(vm)).heap.func_number(func).ok_or(TrapCode::HeapExhausted) }
}

/// The function of a number that stands in an object.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread.
pub unsafe fn func_of_number(vm: *mut VmCtx, number: u32) -> *mut VmFuncRef {
    // SAFETY: passed on to the caller.
    unsafe { (*store(vm)).heap.func_of_number(number) }
}

/// Makes an exception of the tag with this identity (what a context holds), its fields all zero, of `bytes`
/// bytes, and charges for it. The caller fills in its fields.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread; the identity is that of a tag of this store, whose
/// exceptions have that size.
pub unsafe fn exn_new(
    vm: *mut VmCtx,
    tag: *const (),
    bytes: u32,
    live: u32,
) -> Result<VmRef, TrapCode> {
    // SAFETY: passed on to the caller; a tag's identity is its address in the store.
    unsafe {
        let id = (*tag.cast::<crate::store::Tag>()).id.0;
        object_new(vm, EXN, id, u64::from(bytes), live)
    }
}

/// The identity of an exception's tag: what contexts hold for it.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread; the reference is to an exception.
pub unsafe fn exn_tag(vm: *mut VmCtx, exn: VmRef) -> *const () {
    // SAFETY: passed on to the caller; an exception's second word is the number of a tag of the store.
    unsafe {
        let store = store(vm);
        let [_, id] = (*store).gc_header(exn);
        (*store)
            .tag_identity(crate::ids::TagId(id))
            .map_or(std::ptr::null(), |tag| tag.cast_const().cast())
    }
}
