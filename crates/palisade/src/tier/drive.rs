//! Calling any function, whichever engine it is in.
//!
//! A tail call from one engine into the other ends the entry that it is in, and leaves the call to whoever made that
//! entry: here it is made, in a loop, so that such calls take no more of any stack however long they go on.

use palisade_core::{TrapCode, ValType};
use palisade_vm::StoreInner;
use palisade_vm::layout::{Cell, VmFuncRef};
use palisade_vm::native::{self, Continuation, Entered};

/// Calls a function with the arguments in `cells`, in signature order; its results replace them.
///
/// # Errors
///
/// A trap of the guest, or of a host function. An error of the host stands in the store's `pending_error`, an
/// exception in `pending_exn`; the frames that were left are in the store's trace.
///
/// # Safety
///
/// `store` is live and used by nobody else meanwhile, but for host functions that it calls itself; `func` belongs
/// to it; `cells` has the values that the function's type asks for, and room for its results.
pub(crate) unsafe fn drive(
    store: *mut StoreInner,
    func: *mut VmFuncRef,
    cells: *mut Cell,
) -> Result<(), TrapCode> {
    // SAFETY: passed on to the caller.
    unsafe {
        match once(store, func, cells)? {
            Entered::Done => Ok(()),
            Entered::Continue => finish(store, cells),
        }
    }
}

/// Makes the call that the store's continuation asks for, and those that it asks for in turn; the results of the
/// last go to `cells`.
///
/// # Errors
///
/// As [`drive`].
///
/// # Safety
///
/// As [`drive`]; there is a continuation, and the cells have room for its results.
pub(crate) unsafe fn finish(store: *mut StoreInner, cells: *mut Cell) -> Result<(), TrapCode> {
    // SAFETY: passed on to the caller. A continuation's cells hold its arguments and have room for its results,
    // which are those of the function that it stands for.
    unsafe {
        loop {
            let none = Continuation { func: std::ptr::null_mut(), cells: Vec::new() };
            let mut next = std::mem::replace(&mut (*store).continuation, none);
            if next.func.is_null() {
                return Err(TrapCode::Internal);
            }
            if once(store, next.func, next.cells.as_mut_ptr())? == Entered::Done {
                let ty = (*store).types().func_type((*next.func).type_id);
                let width = |ty: &ValType| if *ty == ValType::V128 { 2 } else { 1 };
                let results: usize = ty.map_or(0, |ty| ty.results.iter().map(width).sum());
                let results = results.min(next.cells.len());
                std::ptr::copy_nonoverlapping(next.cells.as_ptr(), cells, results);
                return Ok(());
            }
        }
    }
}

/// Enters a function once.
unsafe fn once(
    store: *mut StoreInner,
    func: *mut VmFuncRef,
    cells: *mut Cell,
) -> Result<Entered, TrapCode> {
    // SAFETY: passed on to the caller. A function whose machine code has its own context is compiled, and then
    // there is a trampoline of its signature.
    unsafe {
        let entry = (*func).native;
        let compiled = !(*func).vmctx.is_null() && entry.ctx == (*func).vmctx.cast();
        if compiled && !(*func).trampoline.is_null() {
            return native::enter(store, (*func).trampoline, entry.code, entry.ctx, cells);
        }
        palisade_interp::call(store, func, cells)?;
        let more = !(*store).continuation.func.is_null();
        Ok(if more { Entered::Continue } else { Entered::Done })
    }
}
