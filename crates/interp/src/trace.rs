//! Backtraces: from where an activation was left back to where it was entered.

use palisade_core::TrapCode;
use palisade_module::FuncIdx;
use palisade_vm::layout::{Cell, VmCtx};

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

/// The frames from `fp` outwards.
///
/// # Safety
///
/// `ip`, `fp` and `vm` describe an instruction that an activation was left at, and its frames are
/// still in place.
pub(crate) unsafe fn frames(
    mut ip: *const u8,
    mut fp: *mut Cell,
    mut vm: *mut VmCtx,
) -> (Vec<FrameInfo>, u64) {
    let mut first = Vec::new();
    let mut last = std::collections::VecDeque::new();
    let mut omitted = 0;
    while !fp.is_null() && !vm.is_null() {
        // SAFETY: `vm` is the context of a live instance.
        let Some(module) = (unsafe { InterpModule::of(vm) }) else { break };
        let Some(place) = module.locate(ip as usize) else { break };
        let frame = FrameInfo {
            // SAFETY: as above.
            instance: unsafe { (*vm).instance_index },
            func: module.func_idx(place.defined),
            offset: place.offset,
        };
        if first.len() < MAX_FRAMES / 2 {
            first.push(frame);
        } else {
            if last.len() == MAX_FRAMES / 2 {
                last.pop_front();
                omitted += 1;
            }
            last.push_back(frame);
        }
        let glue = Glue::get(module.tail_calls());
        // SAFETY: each frame has its header where its code says; a header that returns to a
        // bridge names it as the caller's frame.
        unsafe {
            let header = fp.add(place.header as usize);
            let (mut ret, mut caller) = (header.read(), header.add(1).read() as *mut Cell);
            if ret == glue.bridge_code() as u64 {
                ret = caller.read();
                vm = caller.add(2).read() as *mut VmCtx;
                caller = caller.add(1).read() as *mut Cell;
            }
            if ret == Glue::get(false).halt_code() as u64
                || ret == Glue::get(true).halt_code() as u64
            {
                break;
            }
            // The call stands right before the address that it returns to.
            ip = (ret - 1) as *const u8;
            fp = caller;
        }
    }
    first.extend(last);
    (first, omitted)
}
