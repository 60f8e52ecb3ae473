//! Backtraces: from where an activation was left back to where it was entered.

use palisade_core::TrapCode;
use palisade_module::FuncIdx;
use palisade_vm::layout::{Cell, VmCtx, VmStoreCtx};

use crate::code::{Glue, InterpModule};

/// The most frames that a backtrace keeps: the innermost and the outermost ones.
const MAX_FRAMES: usize = 200;

/// Why an activation ended, and where.
#[derive(Clone, Debug)]
pub struct TrapInfo {
    /// Why.
    pub code: TrapCode,
    /// The frames of Wasm that were active, innermost first. Of very many, only the first and the
    /// last are kept.
    pub frames: Vec<FrameInfo>,
    /// How many frames were left out behind the first half of `frames`.
    pub omitted: u64,
}

/// A frame of a backtrace.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct FrameInfo {
    /// The number of the instance in its store.
    pub instance: u32,
    /// The function, in its module's index space.
    pub func: FuncIdx,
    /// The offset of the operator in the module's bytes.
    pub offset: u32,
}

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

/// The frames from `frame` outwards.
///
/// # Safety
///
/// `frame` says at which instruction an activation was left, and its frames are still in place.
pub(crate) unsafe fn frames(mut frame: Frame) -> (Vec<FrameInfo>, u64) {
    let mut first = Vec::new();
    let mut last = std::collections::VecDeque::new();
    let mut omitted = 0;
    while !frame.fp.is_null() && !frame.vm.is_null() {
        // SAFETY: `vm` is the context of a live instance.
        let Some(module) = (unsafe { InterpModule::of(frame.vm) }) else { break };
        let Some(place) = module.locate(frame.ip as usize) else { break };
        let info = FrameInfo {
            // SAFETY: as above.
            instance: unsafe { (*frame.vm).instance_index },
            func: module.func_idx(place.defined),
            offset: place.offset,
        };
        if first.len() < MAX_FRAMES / 2 {
            first.push(info);
        } else {
            if last.len() == MAX_FRAMES / 2 {
                last.pop_front();
                omitted += 1;
            }
            last.push_back(info);
        }
        // SAFETY: the frame has its header where its code says.
        match unsafe { frame.caller(module, place.header) } {
            Some(outer) => frame = outer,
            None => break,
        }
    }
    first.extend(last);
    (first, omitted)
}
