//! Linear memory operations, for engines: growth, copy, fill, and data segments.
//!
//! Only raw copies touch the bytes: two memories may be the same one. Those of shared memories, which
//! other threads may access meanwhile, are moved by atomics (see [`crate::racy`]).

use palisade_core::{TrapCode, fuel};
use palisade_module::{DataIdx, MemoryIdx};
use std::sync::atomic::Ordering::Acquire;

use super::{GROW_FAILED, charge, growth_trap, instance, poll, store, within};
use crate::error::VmError;
use crate::layout::{VmCtx, VmMemoryDef};
use crate::racy;
use crate::store::StoreInner;

/// Bytes between two looks at the interruption flag.
pub(crate) const STEP: usize = 1 << 20;

/// Copies so many bytes from the first place to the second; the ranges may overlap.
pub(super) type Mover = unsafe fn(*const u8, *mut u8, usize);

/// A memory at this moment.
pub(crate) struct Place {
    pub(crate) base: *mut u8,
    pub(crate) len: usize,
    pub(crate) shared: bool,
}

/// Where a memory is.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread.
pub(crate) unsafe fn memory(vm: *mut VmCtx, memory: u32) -> Result<Place, TrapCode> {
    // SAFETY: the index is checked against the module, so that the context has a definition there.
    unsafe {
        let instance = instance(vm);
        if memory as usize >= instance.memories.len() {
            return Err(TrapCode::Internal);
        }
        let declared = instance.module.memories.get(memory as usize);
        let shared = declared.is_some_and(|ty| ty.shared);
        let def: *mut VmMemoryDef = VmCtx::pointer(vm, instance.offsets.memory(MemoryIdx(memory)));
        Ok(Place { base: (*def).base, len: (*def).len.load(Acquire), shared })
    }
}

/// `memory.grow`: the old size in pages, or [`GROW_FAILED`].
///
/// # Safety
///
/// `vm` is a live context, on its store's thread, and no reference into the store is held.
pub unsafe fn memory_grow(vm: *mut VmCtx, memory: u32, delta: u64) -> Result<u64, TrapCode> {
    // SAFETY: passed on to the caller; the reference to the instance ends with the statement.
    let id = unsafe { instance(vm) }.memory(MemoryIdx(memory)).ok_or(TrapCode::Internal)?;
    // SAFETY: the store outlives its contexts, and by the caller's word nobody else refers to it now.
    let store = unsafe { &mut *store(vm) };
    let pay = |store: &mut StoreInner| store.pay(fuel::pages(delta)).map_err(VmError::Stopped);
    let grown = store.memory_grow_with(id, delta, pay);
    match grown {
        Ok(old) => Ok(old.unwrap_or(GROW_FAILED)),
        Err(error) => Err(growth_trap(store, error)),
    }
}

/// `memory.copy`.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread, and no reference into the memories is held.
pub unsafe fn memory_copy(
    vm: *mut VmCtx,
    dst_memory: u32,
    src_memory: u32,
    dst: u64,
    src: u64,
    len: u64,
) -> Result<(), TrapCode> {
    // SAFETY: passed on to the caller.
    let (to, from) = unsafe { (memory(vm, dst_memory)?, memory(vm, src_memory)?) };
    let (src, _) = within(src, len, from.len).ok_or(TrapCode::MemoryOutOfBounds)?;
    let (dst, len) = within(dst, len, to.len).ok_or(TrapCode::MemoryOutOfBounds)?;
    // SAFETY: both ranges lie within their memories, which neither move nor shrink meanwhile.
    unsafe {
        charge(vm, fuel::bytes(len as u64))?;
        let mover = if from.shared || to.shared { racy::copy } else { std::ptr::copy };
        copy_bytes(vm, to.base.add(dst), from.base.add(src), len, mover)
    }
}

/// Copies in steps, in the direction that keeps overlapping ranges right.
///
/// # Safety
///
/// `len` bytes may be read at `from` and written at `to` by `mover`; `vm` is a live context.
pub(super) unsafe fn copy_bytes(
    vm: *mut VmCtx,
    to: *mut u8,
    from: *const u8,
    len: usize,
    mover: Mover,
) -> Result<(), TrapCode> {
    let backwards = (to as usize) > (from as usize);
    let mut done = 0;
    while done < len {
        let step = STEP.min(len - done);
        let at = if backwards { len - done - step } else { done };
        // SAFETY: `at..at + step` lies within `0..len`.
        unsafe {
            mover(from.add(at), to.add(at), step);
            done += step;
            if done < len {
                poll(vm)?;
            }
        }
    }
    Ok(())
}

/// `memory.fill`.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread, and no reference into the memories is held.
pub unsafe fn memory_fill(
    vm: *mut VmCtx,
    memory_index: u32,
    dst: u64,
    value: u8,
    len: u64,
) -> Result<(), TrapCode> {
    // SAFETY: passed on to the caller.
    let to = unsafe { memory(vm, memory_index)? };
    let (dst, len) = within(dst, len, to.len).ok_or(TrapCode::MemoryOutOfBounds)?;
    // SAFETY: the range lies within the memory, which neither moves nor shrinks meanwhile.
    unsafe {
        charge(vm, fuel::bytes(len as u64))?;
        let mut done = 0;
        while done < len {
            let step = STEP.min(len - done);
            let at = to.base.add(dst + done);
            if to.shared {
                racy::fill(at, value, step);
            } else {
                std::ptr::write_bytes(at, value, step);
            }
            done += step;
            if done < len {
                poll(vm)?;
            }
        }
    }
    Ok(())
}

/// `memory.init`.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread, and no reference into the memories is held.
pub unsafe fn memory_init(
    vm: *mut VmCtx,
    memory: u32,
    data: u32,
    dst: u64,
    src: u64,
    len: u64,
) -> Result<(), TrapCode> {
    // SAFETY: passed on to the caller.
    unsafe { copy_segment(vm, memory, data, dst, src, len, true) }
}

/// Copies from a data segment; a dropped one is empty.
///
/// # Safety
///
/// As [`memory_init`].
pub(crate) unsafe fn copy_segment(
    vm: *mut VmCtx,
    memory_index: u32,
    data: u32,
    dst: u64,
    src: u64,
    len: u64,
    paid: bool,
) -> Result<(), TrapCode> {
    // SAFETY: passed on to the caller; nothing changes the instance until the end.
    let (instance, to) = unsafe { (instance(vm), memory(vm, memory_index)?) };
    let bytes = match instance.data(DataIdx(data)) {
        Some(segment) => {
            instance.module.bytes.get(segment.range.clone()).ok_or(TrapCode::Internal)?
        }
        None => &[],
    };
    let (src, _) = within(src, len, bytes.len()).ok_or(TrapCode::MemoryOutOfBounds)?;
    let (dst, len) = within(dst, len, to.len).ok_or(TrapCode::MemoryOutOfBounds)?;
    // SAFETY: both ranges were just checked; a module's bytes are no memory of a guest.
    unsafe {
        if paid {
            charge(vm, fuel::bytes(len as u64))?;
        }
        let mover = if to.shared { racy::copy_in } else { std::ptr::copy };
        copy_bytes(vm, to.base.add(dst), bytes.as_ptr().add(src), len, mover)
    }
}

/// `data.drop`.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread, and no reference to the instance is held.
pub unsafe fn data_drop(vm: *mut VmCtx, data: u32) {
    // SAFETY: passed on to the caller.
    unsafe { VmCtx::instance(vm) }.dropped_data.insert(data);
}
