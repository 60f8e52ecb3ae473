//! Backtraces: from where an activation was left back to where it was entered.

use palisade_vm::layout::{Cell, VmCtx, VmStoreCtx};
use palisade_vm::native::{Trace, TraceFrame};
use palisade_vm::sample::Exit;

use crate::code::{Glue, InterpModule};

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

/// Adds the frames from `frame` outwards to a backtrace.
///
/// # Safety
///
/// `frame` says at which instruction an activation was left, and its frames are still in place.
pub(crate) unsafe fn frames(frame: Frame, trace: &mut Trace) {
    // SAFETY: passed on to the caller.
    unsafe {
        walk(frame, &mut |frame| {
            trace.push(frame);
            true
        });
    }
}

/// Gives `visit` the frames of an activation, innermost first, as long as it wants more. `exit` is where the activation was
/// left.
///
/// # Safety
///
/// The activation has not ended, and its store's own thread stands still where it was left.
pub unsafe fn activation_frames(exit: Exit, visit: &mut dyn FnMut(TraceFrame) -> bool) {
    let (ip, fp, vm) = exit;
    // SAFETY: passed on to the caller.
    unsafe { walk(Frame { ip, fp, vm }, visit) }
}

unsafe fn walk(mut frame: Frame, visit: &mut dyn FnMut(TraceFrame) -> bool) {
    while !frame.fp.is_null() && !frame.vm.is_null() {
        // SAFETY: `vm` is the context of a live instance.
        let Some(module) = (unsafe { InterpModule::of(frame.vm) }) else { break };
        let Some(place) = module.locate(frame.ip as usize) else { break };
        if place.is_frame {
            let (info, func) = (module.shared_info().clone(), module.func_idx(place.defined));
            if !visit(TraceFrame { module: info, func, offset: place.offset }) {
                return;
            }
        }
        // SAFETY: the frame has its header where its code says.
        match unsafe { frame.caller(module, place.header) } {
            Some(outer) => frame = outer,
            None => break,
        }
    }
}
