//! Function references and the subtype relation, for engines.

use palisade_core::TypeId;
use palisade_module::FuncIdx;

use super::{instance, store};
use crate::layout::{VmCtx, VmFuncRef};

/// `ref.func`: the reference of a function, made on first use. Null only if there is no such function,
/// which validation excludes.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread.
pub unsafe fn ref_func(vm: *mut VmCtx, func: u32) -> *mut VmFuncRef {
    // SAFETY: passed on to the caller; making a reference changes the context, not the instance.
    unsafe { instance(vm) }.func_ref(FuncIdx(func))
}

/// Whether one canonical type is a subtype of another.
///
/// # Safety
///
/// `vm` is a live context, on its store's thread.
pub unsafe fn is_subtype(vm: *mut VmCtx, sub: TypeId, sup: TypeId) -> bool {
    // SAFETY: passed on to the caller; the registry is shared and never replaced.
    sub == sup || unsafe { (*store(vm)).types.is_subtype(sub, sup) }
}
