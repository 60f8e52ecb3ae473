//! Backtraces: from where an activation was left back to where it was entered.

use palisade_vm::layout::{Cell, VmCtx, VmStoreCtx};
use palisade_vm::native::{FrameValue, FrameValues, Trace, TraceFrame};
use palisade_vm::sample::Exit;

use crate::code::{Glue, InterpModule, Ty};
use crate::translate::{self, Held};

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

/// The values of a frame, if they are wanted and there: a function that could not be translated never set its locals, and a
/// tail call of the host may have put its arguments over them.
///
/// # Safety
///
/// As for [`frames`].
unsafe fn values(frame: Frame, module: &InterpModule, trace: &Trace) -> FrameValues {
    if !trace.wants_values(0) {
        return FrameValues::default();
    }
    let Some((code, defined, at)) = module.code_at(frame.ip as usize) else {
        return FrameValues::default();
    };
    let site = code.handlers.as_deref().and_then(|handlers| handlers.site(at));
    let slots = translate::local_slots(module, defined).unwrap_or_default();
    if site.is_some_and(|site| site.tail) || !trace.wants_values(slots.len()) {
        return FrameValues::default();
    }
    let value = |(ty, place): (Ty, Held)| {
        let cell = match place {
            // SAFETY: the slot is one of the function's, and its frame is in place.
            Held::Slot(slot) => unsafe { frame.fp.add(slot as usize).read() },
            Held::Const(cell) => cell,
            Held::Lost => return FrameValue::Missing,
        };
        match ty {
            Ty::I32 => FrameValue::I32(cell as i32),
            Ty::I64 => FrameValue::I64(cell.cast_signed()),
            Ty::F32 => FrameValue::F32(cell as u32),
            Ty::F64 => FrameValue::F64(cell),
            Ty::V128 | Ty::Func | Ty::Ref => FrameValue::Missing,
        }
    };
    // References have slots of another stack: nothing of them is read.
    let in_slot = |(ty, slot)| (ty, if ty == Ty::Ref { Held::Lost } else { Held::Slot(slot) });
    let locals: Box<[_]> = slots.into_iter().map(|local| value(in_slot(local))).collect();
    // Instructions that trap or call are marked, and translation makes the same ones each time.
    let mark = code.marks.partition_point(|&(mark, _)| mark <= at);
    let mark = mark.checked_sub(1).and_then(|mark| code.marks.get(mark));
    let operands = mark.and_then(|&(mark, _)| translate::operands_at(module, defined, mark));
    let operands = operands.unwrap_or_default();
    let room = trace.wants_values(locals.len() + operands.len());
    let operands = if room { operands.into_iter().map(value).collect() } else { Box::default() };
    FrameValues { locals, operands }
}

/// Adds the frames from `frame` outwards to a backtrace.
///
/// # Safety
///
/// `frame` says at which instruction an activation was left, and its frames are still in place.
pub(crate) unsafe fn frames(frame: Frame, trace: &mut Trace) {
    // SAFETY: passed on to the caller.
    unsafe {
        walk(frame, &mut |at, module, described| {
            let values = values(at, module, trace);
            trace.push(TraceFrame { values, ..described });
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
    unsafe { walk(Frame { ip, fp, vm }, &mut |_, _, described| visit(described)) }
}

unsafe fn walk(mut frame: Frame, visit: &mut dyn FnMut(Frame, &InterpModule, TraceFrame) -> bool) {
    while !frame.fp.is_null() && !frame.vm.is_null() {
        // SAFETY: `vm` is the context of a live instance.
        let Some(module) = (unsafe { InterpModule::of(frame.vm) }) else { break };
        let Some(place) = module.locate(frame.ip as usize) else { break };
        if place.is_frame {
            let (info, func) = (module.shared_info().clone(), module.func_idx(place.defined));
            let values = FrameValues::default();
            if !visit(
                frame,
                module,
                TraceFrame { module: info, func, offset: place.offset, values },
            ) {
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
