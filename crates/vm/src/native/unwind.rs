//! From where an exception was thrown to the machine code that catches it.
//!
//! The frames of one segment are looked at from the inside out, and nothing is changed until a handler is found. The
//! work is paid for in fuel and can be interrupted, by the same rules as in the interpreter: one unit for each frame
//! of Wasm, one for each clause. Stubs and trampolines are no frames of Wasm.

use palisade_core::TrapCode;

use super::CodeObject;
use super::code::{FuncKind, Handler};
use super::walk::{Frame, Frames};
use crate::ids::TagId;
use crate::layout::{Interrupts, VmCtx, VmRef, VmStoreCtx};

/// Frames and clauses between two looks at whether the guest is to be stopped.
const POLL_INTERVAL: u64 = 1024;

/// Where an exception is caught.
struct Caught {
    pc: usize,
    sp: usize,
    fp: usize,
    /// How many calls there are inside of the frame that counted themselves.
    depth: i64,
}

/// Looks for what catches the pending exception in the innermost segment, and says in the state where to go on.
/// `false` if nothing does: then everything is as it was.
///
/// # Errors
///
/// The guest is to be stopped, or cannot pay.
///
/// # Safety
///
/// `ctx` is the context of a live store, on its own thread, whose machine code was left through a wrapper;
/// `pending_exn` is an exception of the store.
pub(crate) unsafe fn catch(ctx: *mut VmStoreCtx) -> Result<bool, TrapCode> {
    let mut work = 0;
    // SAFETY: passed on from the caller; nothing refers into the store where it is paid.
    let found = unsafe {
        let found = search(ctx, &mut work)?;
        (*(*ctx).store).pay(work)?;
        found
    };
    let Some(caught) = found else { return Ok(false) };
    // SAFETY: as above.
    unsafe {
        (*ctx).depth_left = (*ctx).depth_left.saturating_add(caught.depth);
        let state = &mut (*ctx).native;
        state.resume_pc = caught.pc;
        state.resume_sp = std::ptr::with_exposed_provenance_mut(caught.sp);
        state.resume_fp = std::ptr::with_exposed_provenance_mut(caught.fp);
        state.resume_payload = (*ctx).pending_exn.0 as usize;
        (*ctx).pending_exn = VmRef::NULL;
        let store = &mut *(*ctx).store;
        // What the host had to say about it.
        store.pending_error = None;
        store.trace.clear();
    }
    Ok(true)
}

unsafe fn search(ctx: *mut VmStoreCtx, work: &mut u64) -> Result<Option<Caught>, TrapCode> {
    // SAFETY: the caller's word.
    unsafe {
        let state = &raw const (*ctx).native;
        let interrupts = (*state).interrupts;
        let [_, tag] = (*(*ctx).store).gc_header((*ctx).pending_exn);
        let tag = (*(*ctx).store).tag_identity(TagId(tag)).ok_or(TrapCode::Internal)?;
        let mut depth = 0;
        for frame in Frames::innermost(state) {
            let (object, ret) = frame.code(&*(*state).registry).ok_or(TrapCode::Internal)?;
            let func = object.func_at(ret.wrapping_sub(1)).ok_or(TrapCode::Internal)?;
            if func.kind == FuncKind::Stub {
                continue;
            }
            step(work, interrupts)?;
            if let Some(pad) = handler(&frame, object, ret, tag, work, interrupts)? {
                let Some(call) = object.call_at(ret) else { return Err(TrapCode::Internal) };
                let sp = frame.fp.wrapping_sub(call.frame as usize);
                let pc = object.at(pad) as usize;
                return Ok(Some(Caught { pc, sp, fp: frame.fp, depth }));
            }
            depth += i64::from(object.tables().counts_depth);
        }
    }
    Ok(None)
}

/// Where a frame goes on with an exception of this tag, if it catches it.
unsafe fn handler(
    frame: &Frame,
    object: &CodeObject,
    ret: u32,
    tag: *mut (),
    work: &mut u64,
    interrupts: *const Interrupts,
) -> Result<Option<u32>, TrapCode> {
    let Some(call) = object.call_at(ret) else { return Ok(None) };
    let tables = object.tables();
    let range = call.handlers.start as usize..call.handlers.end as usize;
    let handlers = tables.handlers.get(range).ok_or(TrapCode::Internal)?;
    let mut vm: *mut VmCtx = std::ptr::null_mut();
    for &handler in handlers {
        match handler {
            Handler::Context(slot) => {
                let sp = frame.fp.wrapping_sub(call.frame as usize);
                let at = std::ptr::with_exposed_provenance::<*mut VmCtx>(sp + slot as usize);
                // SAFETY: the tables say that the frame keeps its context there during the call.
                vm = unsafe { at.read() };
            }
            Handler::Tag(index, pad) => {
                // SAFETY: the interrupts live as long as the store; the context is that of an instance of the
                // code's module, which has a tag of that index.
                unsafe {
                    step(work, interrupts)?;
                    let (_, offsets) = tables.module.as_ref().ok_or(TrapCode::Internal)?;
                    if vm.is_null() {
                        return Err(TrapCode::Internal);
                    }
                    let own = offsets.tag(palisade_module::TagIdx(index));
                    if VmCtx::pointer::<()>(vm, own) == tag {
                        return Ok(Some(pad));
                    }
                }
            }
            Handler::Default(pad) => {
                // SAFETY: as above.
                unsafe { step(work, interrupts)? };
                return Ok(Some(pad));
            }
        }
    }
    Ok(None)
}

/// Counts a step, and looks at whether the guest is to be stopped now and then.
unsafe fn step(work: &mut u64, interrupts: *const Interrupts) -> Result<(), TrapCode> {
    if work.is_multiple_of(POLL_INTERVAL) {
        // SAFETY: the interrupts live as long as the store.
        unsafe { (*interrupts).poll()? };
    }
    *work += 1;
    Ok(())
}
