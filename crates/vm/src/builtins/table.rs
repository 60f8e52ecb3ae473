//! Table operations, for engines: access, growth, copy, fill, and element segments.
//!
//! References are [`RefBits`]. Source and destination of a copy may be the same table, so that elements
//! are moved as raw bytes.

use palisade_core::{TrapCode, fuel};
use palisade_module::{ElemIdx, ElementItems, TableIdx};

use super::{GROW_FAILED, charge, growth_trap, instance, poll, store, within};
use crate::const_eval;
use crate::error::VmError;
use crate::ids::RefBits;
use crate::instance::Instance;
use crate::layout::{VmCtx, VmTableDef};
use crate::store::StoreInner;
use crate::table::{STEP, element_size, fill, read, write};

/// A table as the operations of this file use it.
#[derive(Copy, Clone)]
struct View {
    base: *mut u8,
    len: usize,
    funcs: bool,
}

/// The current view of a table; it holds until the table grows.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread.
unsafe fn view(vm: *mut VmCtx, table: u32) -> Result<View, TrapCode> {
    // SAFETY: the index is checked against the instance, so that the context has a definition there;
    // the store is read only.
    unsafe {
        let instance = instance(vm);
        let id = instance.table(TableIdx(table)).ok_or(TrapCode::Internal)?;
        let funcs = (*store(vm)).table_holds_funcs(id).ok_or(TrapCode::Internal)?;
        let def: *mut VmTableDef = VmCtx::pointer(vm, instance.offsets.table(TableIdx(table)));
        Ok(View { base: (*def).base, len: (*def).len, funcs })
    }
}

/// `table.get`.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread.
pub unsafe fn table_get(vm: *mut VmCtx, table: u32, index: u64) -> Result<RefBits, TrapCode> {
    // SAFETY: passed on to the caller; the index is checked before the element is read.
    unsafe {
        let view = view(vm, table)?;
        let (index, _) = within(index, 1, view.len).ok_or(TrapCode::TableOutOfBounds)?;
        Ok(read(view.base, view.funcs, index))
    }
}

/// `table.set`.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread, and `value` is a reference of the table's element
/// type that belongs to the store.
pub unsafe fn table_set(
    vm: *mut VmCtx,
    table: u32,
    index: u64,
    value: RefBits,
) -> Result<(), TrapCode> {
    // SAFETY: passed on to the caller; the index is checked before the element is written.
    unsafe {
        let view = view(vm, table)?;
        let (index, _) = within(index, 1, view.len).ok_or(TrapCode::TableOutOfBounds)?;
        write(view.base, view.funcs, index, value);
    }
    Ok(())
}

/// `table.size`.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread.
pub unsafe fn table_size(vm: *mut VmCtx, table: u32) -> Result<u64, TrapCode> {
    // SAFETY: passed on to the caller.
    unsafe { view(vm, table) }.map(|view| view.len as u64)
}

/// `table.grow`: the old size, or [`GROW_FAILED`].
///
/// # Safety
///
/// As [`table_set`], and no reference into the store is held.
pub unsafe fn table_grow(
    vm: *mut VmCtx,
    table: u32,
    init: RefBits,
    delta: u64,
) -> Result<u64, TrapCode> {
    // SAFETY: passed on to the caller; the reference to the instance ends with the statement.
    let id = unsafe { instance(vm) }.table(TableIdx(table)).ok_or(TrapCode::Internal)?;
    // SAFETY: the store outlives its contexts, and by the caller's word nobody else refers to it now.
    let store = unsafe { &mut *store(vm) };
    let pay = |store: &mut StoreInner| store.pay(fuel::elements(delta)).map_err(VmError::Stopped);
    // SAFETY: `init` is of the element type and of this store, by the caller's word.
    let grown = unsafe { store.table_grow_with(id, delta, init, pay) };
    match grown {
        Ok(old) => Ok(old.unwrap_or(GROW_FAILED)),
        Err(error) => Err(growth_trap(store, error)),
    }
}

/// `table.fill`.
///
/// # Safety
///
/// As [`table_set`].
pub unsafe fn table_fill(
    vm: *mut VmCtx,
    table: u32,
    dst: u64,
    value: RefBits,
    len: u64,
) -> Result<(), TrapCode> {
    // SAFETY: passed on to the caller; the range is checked before it is written, and the table does not
    // grow meanwhile.
    unsafe {
        let view = view(vm, table)?;
        let (dst, len) = within(dst, len, view.len).ok_or(TrapCode::TableOutOfBounds)?;
        charge(vm, fuel::elements(len as u64))?;
        let mut done = 0;
        while done < len {
            let step = STEP.min(len - done);
            fill(view.base, view.funcs, dst + done, step, value);
            done += step;
            if done < len {
                poll(vm)?;
            }
        }
    }
    Ok(())
}

/// `table.copy`.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread, and the element type of the source is a subtype of
/// that of the destination.
pub unsafe fn table_copy(
    vm: *mut VmCtx,
    dst_table: u32,
    src_table: u32,
    dst: u64,
    src: u64,
    len: u64,
) -> Result<(), TrapCode> {
    // SAFETY: passed on to the caller.
    let (to, from) = unsafe { (view(vm, dst_table)?, view(vm, src_table)?) };
    if to.funcs != from.funcs {
        return Err(TrapCode::Internal);
    }
    let (src, _) = within(src, len, from.len).ok_or(TrapCode::TableOutOfBounds)?;
    let (dst, len) = within(dst, len, to.len).ok_or(TrapCode::TableOutOfBounds)?;
    let size = element_size(to.funcs);
    // SAFETY: both ranges were just checked, and the tables do not grow meanwhile.
    unsafe {
        charge(vm, fuel::elements(len as u64))?;
        let (to, from) = (to.base.add(dst * size), from.base.add(src * size));
        let backwards = (to as usize) > (from as usize);
        let mut done = 0;
        while done < len {
            let step = STEP.min(len - done);
            let at = if backwards { len - done - step } else { done } * size;
            std::ptr::copy(from.add(at), to.add(at), step * size);
            done += step;
            if done < len {
                poll(vm)?;
            }
        }
    }
    Ok(())
}

/// `table.init`.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread, and the type of the segment is a subtype of the
/// table's element type.
pub unsafe fn table_init(
    vm: *mut VmCtx,
    table: u32,
    elem: u32,
    dst: u64,
    src: u64,
    len: u64,
) -> Result<(), TrapCode> {
    // SAFETY: passed on to the caller.
    unsafe { init_elements(vm, table, elem, dst, src, len, true) }
}

/// Copies from an element segment; a dropped one is empty.
///
/// # Safety
///
/// As [`table_init`].
pub(crate) unsafe fn init_elements(
    vm: *mut VmCtx,
    table: u32,
    elem: u32,
    dst: u64,
    src: u64,
    len: u64,
    paid: bool,
) -> Result<(), TrapCode> {
    // SAFETY: passed on to the caller; nothing changes the instance until the end.
    let (instance, view) = unsafe { (instance(vm), view(vm, table)?) };
    let segment = instance.elements(ElemIdx(elem));
    let count = segment.map_or(0, |segment| segment.items.len());
    let (src, _) = within(src, len, count).ok_or(TrapCode::TableOutOfBounds)?;
    let (dst, len) = within(dst, len, view.len).ok_or(TrapCode::TableOutOfBounds)?;
    if paid {
        // SAFETY: passed on to the caller.
        unsafe { charge(vm, fuel::elements(len as u64))? };
    }
    let Some(segment) = segment else { return Ok(()) };
    for offset in 0..len {
        // SAFETY: passed on to the caller.
        let value = unsafe { element(vm, instance, elem, &segment.items, src + offset)? };
        // SAFETY: the range was just checked; the value is of the segment's type.
        unsafe {
            write(view.base, view.funcs, dst + offset, value);
            if offset % STEP == STEP - 1 && offset + 1 < len {
                poll(vm)?;
            }
        }
    }
    Ok(())
}

/// One element of a segment. Nothing is allocated.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread, and that of the instance.
pub(crate) unsafe fn element(
    vm: *mut VmCtx,
    instance: &Instance,
    elem: u32,
    items: &ElementItems,
    index: usize,
) -> Result<RefBits, TrapCode> {
    match items {
        ElementItems::Funcs(funcs) => {
            let reference = instance.func_ref(*funcs.get(index).ok_or(TrapCode::Internal)?);
            if reference.is_null() {
                return Err(TrapCode::Internal);
            }
            Ok(reference.expose_provenance() as u64)
        }
        ElementItems::Exprs(exprs) => {
            if let Some(Some(segment)) = instance.element_values.get(elem as usize) {
                return segment.values.get(index).copied().ok_or(TrapCode::Internal);
            }
            let expr = exprs.get(index).ok_or(TrapCode::Internal)?;
            // SAFETY: the store is alive and not referred to elsewhere; instances are no part of it.
            let store = unsafe { &mut *store(vm) };
            let value = const_eval::evaluate_again(store, instance, expr);
            value.map(|v| v[0]).map_err(|_| TrapCode::Internal)
        }
    }
}

/// `elem.drop`.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread, and no reference to the instance is held.
pub unsafe fn elem_drop(vm: *mut VmCtx, elem: u32) {
    // SAFETY: passed on to the caller.
    let instance = unsafe { VmCtx::instance(vm) };
    instance.dropped_elements.insert(elem);
    // What was evaluated for it is of no use any more.
    if let Some(values) = instance.element_values.get_mut(elem as usize) {
        *values = None;
    }
}
