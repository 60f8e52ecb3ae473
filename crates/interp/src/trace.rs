//! Backtraces: from where an activation was left back to where it was entered.

use palisade_vm::layout::{Cell, VmCtx, VmStoreCtx};
use palisade_vm::native::{LocalValue, Trace, TraceFrame};

use crate::code::{Glue, InterpModule, Ty};
use crate::translate;

/// A frame of an activation, while frames are walked.
#[derive(Copy, Clone)]
pub(crate) struct Frame {
    /// An address inside of the instruction that is being executed.
    pub(crate) ip: *const u8,
    pub(crate) fp: *mut Cell,
    pub(crate) vm: *mut VmCtx,
}

impl Frame {
    /// The innermost frame of the activation that was left last.
    ///
    /// # Safety
    ///
    /// `ctx` is live.
    pub(crate) unsafe fn left(ctx: *const VmStoreCtx) -> Self {
        // SAFETY: passed on to the caller.
        unsafe { Self { ip: (*ctx).exit_ip, fp: (*ctx).exit_fp, vm: (*ctx).exit_vmctx } }
    }

    /// The frame that called this one, which is of a function of `module` with its header in slot `header`;
    /// `None` at the end of the activation.
    ///
    /// # Safety
    ///
    /// The frame is in place, and its function's code says that its header stands there.
    pub(crate) unsafe fn caller(mut self, module: &InterpModule, header: u32) -> Option<Self> {
        // SAFETY: a header that returns to a bridge names it as the caller's frame.
        let ret = unsafe {
            let header = self.fp.add(header as usize);
            let (ret, fp) = (header.read(), header.add(1).read() as *mut Cell);
            if ret == Glue::get(module.tail_calls()).bridge_code() as u64 {
                self.fp = fp.add(1).read() as *mut Cell;
                self.vm = fp.add(2).read() as *mut VmCtx;
                fp.read()
            } else {
                self.fp = fp;
                ret
            }
        };
        if [false, true].iter().any(|&dispatch| ret == Glue::get(dispatch).halt_code() as u64) {
            return None;
        }
        // The call stands right before the address that it returns to.
        self.ip = (ret - 1) as *const u8;
        Some(self)
    }
}

/// The locals of a frame, if they are wanted and all there: a function that could not be translated never set them, and a
/// tail call of the host may have put its arguments over them.
///
/// # Safety
///
/// As for [`frames`].
unsafe fn locals(frame: Frame, module: &InterpModule, trace: &Trace) -> Box<[LocalValue]> {
    if !trace.wants_locals(0) {
        return Box::default();
    }
    let Some((code, defined, at)) = module.code_at(frame.ip as usize) else {
        return Box::default();
    };
    let site = code.handlers.as_deref().and_then(|handlers| handlers.site(at));
    let slots = translate::local_slots(module, defined).unwrap_or_default();
    if site.is_some_and(|site| site.tail) || !trace.wants_locals(slots.len()) {
        return Box::default();
    }
    let value = |(ty, slot): (Ty, u32)| {
        // SAFETY: the slot is one of the function's locals, and its frame is in place.
        let cell = || unsafe { frame.fp.add(slot as usize).read() };
        match ty {
            Ty::I32 => LocalValue::I32(cell() as i32),
            Ty::I64 => LocalValue::I64(cell().cast_signed()),
            Ty::F32 => LocalValue::F32(cell() as u32),
            Ty::F64 => LocalValue::F64(cell()),
            Ty::V128 | Ty::Func | Ty::Ref => LocalValue::Missing,
        }
    };
    slots.into_iter().map(value).collect()
}

/// Adds the frames from `frame` outwards to a backtrace.
///
/// # Safety
///
/// `frame` says at which instruction an activation was left, and its frames are still in place.
pub(crate) unsafe fn frames(mut frame: Frame, trace: &mut Trace) {
    while !frame.fp.is_null() && !frame.vm.is_null() {
        // SAFETY: `vm` is the context of a live instance.
        let Some(module) = (unsafe { InterpModule::of(frame.vm) }) else { break };
        let Some(place) = module.locate(frame.ip as usize) else { break };
        if place.is_frame {
            let (info, func) = (module.shared_info().clone(), module.func_idx(place.defined));
            // SAFETY: the frame is in place.
            let locals = unsafe { locals(frame, module, trace) };
            trace.push(TraceFrame { module: info, func, offset: place.offset, locals });
        }
        // SAFETY: the frame has its header where its code says.
        match unsafe { frame.caller(module, place.header) } {
            Some(outer) => frame = outer,
            None => break,
        }
    }
}
