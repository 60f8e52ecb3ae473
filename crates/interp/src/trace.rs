//! Backtraces: from where an activation was left back to where it was entered.

use palisade_vm::layout::{Cell, VmCtx};
use palisade_vm::native::{Trace, TraceFrame};

use crate::code::{Glue, InterpModule};

/// Adds the frames from `fp` outwards to a backtrace.
///
/// # Safety
///
/// `ip`, `fp` and `vm` describe an instruction that an activation was left at, and its frames are
/// still in place.
pub(crate) unsafe fn frames(
    mut ip: *const u8,
    mut fp: *mut Cell,
    mut vm: *mut VmCtx,
    trace: &mut Trace,
) {
    while !fp.is_null() && !vm.is_null() {
        // SAFETY: `vm` is the context of a live instance.
        let Some(module) = (unsafe { InterpModule::of(vm) }) else { break };
        let Some(place) = module.locate(ip as usize) else { break };
        if place.is_frame {
            let (module, func) = (module.shared_info().clone(), module.func_idx(place.defined));
            trace.push(TraceFrame { module, func, offset: place.offset });
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
}
