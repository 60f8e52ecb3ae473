//! Running the active segments of a new instance (specification: instantiation).
//!
//! Segments are copied in order, element segments first; one that does not fit ends it with the
//! trap of the out-of-bounds access, and what earlier ones wrote stays. Nothing is paid for with fuel: the work is bounded
//! by the size of the module, whose loading was not paid for either. (What constant expressions make was paid for
//! when they were evaluated, see `const_eval`.)

use palisade_core::TrapCode;
use palisade_module::{ConstExpr, ConstOp, DataIdx, ElemIdx, MemoryIdx, ModuleInfo, SegmentMode};

use crate::builtins::memory::copy_segment;
use crate::builtins::table::init_elements;
use crate::const_eval;
use crate::ids::InstanceId;
use crate::instance::Instance;
use crate::layout::VmCtx;
use crate::store::StoreInner;
use crate::sys::large::prefer_large_pages;

/// From so many bytes of data on, a memory is worth larger pages where they go.
const MUCH_DATA: usize = 2 << 20;

impl StoreInner {
    /// Copies the active segments of an instance to their tables and memories, and drops them. To be
    /// called once, after [`StoreInner::allocate_instance`]. The start function is the caller's to
    /// run.
    pub fn initialize_instance(&mut self, id: InstanceId) -> Result<(), TrapCode> {
        let instance = self.instance(id).ok_or(TrapCode::Internal)?;
        let (vmctx, module) = (instance.vmctx(), instance.module.clone());
        for position in 0..module.elements.len() as u32 {
            // SAFETY: the context is that of a complete instance of this store; no guest runs.
            unsafe { run_elements(vmctx, &module, ElemIdx(position))? };
        }
        // SAFETY: as above.
        unsafe { expect_data(vmctx, &module) };
        for position in 0..module.data.len() as u32 {
            // SAFETY: as above.
            unsafe { run_data(vmctx, &module, DataIdx(position))? };
        }
        Ok(())
    }
}

/// # Safety
///
/// `vm` is the context of a complete instance of `module` on this thread.
unsafe fn run_elements(vm: *mut VmCtx, module: &ModuleInfo, elem: ElemIdx) -> Result<(), TrapCode> {
    let segment = module.elements.get(elem.index()).ok_or(TrapCode::Internal)?;
    match &segment.mode {
        SegmentMode::Passive => return Ok(()),
        SegmentMode::Declared => {}
        SegmentMode::Active { target, offset } => {
            let table64 = module.tables.get(target.index()).is_some_and(|t| t.ty.table64);
            let len = segment.items.len() as u64;
            // SAFETY: passed on to the caller.
            unsafe {
                let at = offset_value(vm, offset, table64)?;
                init_elements(vm, target.0, elem.0, at, 0, len, false)?;
            }
        }
    }
    // SAFETY: the instance is alive, and nothing else refers to it here.
    unsafe { VmCtx::instance(vm) }.dropped_elements.insert(elem.0);
    Ok(())
}

/// Says that much of a module's first memory is about to be written, where that is so: it is touched for the first time in larger
/// steps then.
///
/// # Safety
///
/// `vm` is the context of a complete instance of `module` on this thread.
unsafe fn expect_data(vm: *mut VmCtx, module: &ModuleInfo) {
    let own = module.imported_memories == 0 && module.memories.first().is_some_and(|m| !m.shared);
    let (mut start, mut end) = (usize::MAX, 0);
    let mut bytes = 0;
    for segment in &module.data {
        if let SegmentMode::Active { target: MemoryIdx(0), offset } = &segment.mode
            && let [ConstOp::I32(at)] = offset.ops[..]
        {
            let at = at.cast_unsigned() as usize;
            (start, end) = (start.min(at), end.max(at.saturating_add(segment.range.len())));
            bytes += segment.range.len();
        }
    }
    // Most of what lies between is to be written.
    if own && bytes >= MUCH_DATA && (end - start) / 2 < bytes {
        // SAFETY: passed on to the caller; the memory is the instance's own, and no guest runs.
        unsafe {
            if let Ok(memory) = crate::builtins::memory::memory(vm, 0)
                && end <= memory.len
            {
                let at = memory.base.add(start).cast();
                prefer_large_pages(std::slice::from_raw_parts_mut(at, end - start));
            }
        }
    }
}

/// # Safety
///
/// `vm` is the context of a complete instance of `module` on this thread.
unsafe fn run_data(vm: *mut VmCtx, module: &ModuleInfo, data: DataIdx) -> Result<(), TrapCode> {
    let segment = module.data.get(data.index()).ok_or(TrapCode::Internal)?;
    let SegmentMode::Active { target, offset } = &segment.mode else { return Ok(()) };
    let memory64 = module.memories.get(target.index()).is_some_and(|ty| ty.memory64);
    // SAFETY: passed on to the caller; nothing else refers to the instance when it is changed.
    unsafe {
        let at = offset_value(vm, offset, memory64)?;
        copy_segment(vm, target.0, data.0, at, 0, segment.range.len() as u64, false)?;
        VmCtx::instance(vm).dropped_data.insert(data.0);
    }
    Ok(())
}

/// The value of an offset expression.
///
/// # Safety
///
/// `vm` is the context of a complete instance on this thread.
unsafe fn offset_value(vm: *mut VmCtx, expr: &ConstExpr, is_64: bool) -> Result<u64, TrapCode> {
    // SAFETY: instance and store are alive; the instance is only read, and is no part of the store itself.
    let (instance, store): (&Instance, &mut StoreInner) =
        unsafe { (&*(*vm).instance, &mut *(*(*vm).store).store) };
    let value = const_eval::evaluate_again(store, instance, expr);
    let [value, _] = value.map_err(|_| TrapCode::Internal)?;
    Ok(if is_64 { value } else { u64::from(value as u32) })
}
