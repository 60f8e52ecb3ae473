//! Objects of the heap, for engines: allocation, bulk work on arrays, casts, functions in objects, exceptions.
//!
//! `live` is how many references of the running frame's window, from `ref_fp` on, are in use: those are
//! roots of a collection that an allocation may start, and are changed by it. Whoever calls reads
//! its operands from the window again after an allocation.

use palisade_core::{TrapCode, TypeId};

use super::store;
use crate::gc::RefTarget;
use crate::gc::layout::{FieldKind, array_bytes};
use crate::layout::{Cell, VmCtx, VmFuncRef, VmRef};

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
    unsafe { (*store(vm)).gc_alloc(ty.0, 0, u64::from(bytes), live) }
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
    unsafe { (*store(vm)).gc_alloc(ty.0, len, array_bytes(kind, len), live) }
}

/// `array.new_data`: an array of `len` elements from byte `from` of data segment `data`.
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
    let _ = (vm, ty, kind, data, from, len, live);
    Err(TrapCode::Internal)
}

/// `array.new_elem`: an array of `len` elements from element `from` of element segment `elem`.
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
    let _ = (vm, ty, kind, elem, from, len, live);
    Err(TrapCode::Internal)
}

/// `array.init_data`: elements `to..to + len` from byte `from` of data segment `data`.
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
    let _ = (vm, array, kind, data, to, from, len);
    Err(TrapCode::Internal)
}

/// `array.init_elem`: elements `to..to + len` from element `from` of element segment `elem`.
/// (`live` as for allocations: an element may be an expression that allocates.)
///
/// # Safety
///
/// `vm` is a live context, on its store's thread; `array` is null or an array of references of the segment's
/// type.
#[allow(clippy::too_many_arguments)]
pub unsafe fn array_init_elem(
    vm: *mut VmCtx,
    array: VmRef,
    kind: FieldKind,
    elem: u32,
    to: u32,
    from: u32,
    len: u32,
) -> Result<(), TrapCode> {
    let _ = (vm, array, kind, elem, to, from, len);
    Err(TrapCode::Internal)
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
    let _ = (vm, array, kind, to, value, len);
    Err(TrapCode::Internal)
}

/// `array.copy`: `len` elements of `source` from `from` on to `array` from `to` on. Charges by length.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread; both are null or arrays of such elements.
#[allow(clippy::too_many_arguments)]
pub unsafe fn array_copy(
    vm: *mut VmCtx,
    kind: FieldKind,
    array: VmRef,
    to: u32,
    source: VmRef,
    from: u32,
    len: u32,
) -> Result<(), TrapCode> {
    let _ = (vm, kind, array, to, source, from, len);
    Err(TrapCode::Internal)
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
/// bytes. The caller fills in its fields.
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
        (*store(vm)).gc_alloc(crate::gc::layout::EXN, id, u64::from(bytes), live)
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
        let id = (*store).gc_object(exn).cast::<u32>().add(1).read();
        (*store)
            .tag_identity(crate::ids::TagId(id))
            .map_or(std::ptr::null(), |tag| tag.cast_const().cast())
    }
}
