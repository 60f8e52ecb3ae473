//! From the interpreter into machine code: functions that have some, entered by calls or, in the middle of a
//! loop, from the running frame; and the counting that tells which functions should get some.
//!
//! The frame of a function that runs as machine code stays in place with its header, and stands at what
//! leads there ([`crate::code::InterpModule::native_stub`]): it is no frame of Wasm for backtraces and
//! exceptions, for machine code has its own. Arguments that are all in cells are passed where they
//! stand, and the results come back there; references go through a buffer, and nothing is allocated while
//! they are nowhere else.

use palisade_core::TrapCode;
use palisade_vm::layout::{Cell, VmCtx, VmRef};
use palisade_vm::native::{self, Continuation, Entered};

use crate::LoopEntry;
use crate::code::{InterpModule, Signature, Ty};
use crate::ops::call::{frame_bytes, set_accumulators, signature_of, trap_code};
use crate::state::{Handler, Next, Op, State, cold_handler, handler};

/// Operands of what leads to machine code.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct NativeOps {
    pub(crate) handler: u64,
    /// The function, among the defined ones.
    pub(crate) defined: u64,
    /// What takes arguments from cells and puts results there.
    pub(crate) trampoline: u64,
    /// The function's code.
    pub(crate) code: u64,
}

/// Operands of what counts.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct TierOps {
    pub(crate) handler: u64,
    /// Where the context has the counter.
    pub(crate) counter: u32,
    /// What it must reach.
    pub(crate) limit: u32,
    /// The function, among the defined ones.
    pub(crate) defined: u32,
    /// Which of the function's loops.
    pub(crate) which: u32,
    /// The offset of the loop in the module.
    pub(crate) offset: u32,
    /// The slot of the frame's header.
    pub(crate) header: u32,
}

/// What [`call`] and [`turn`] answer when the activation ends, with the store's continuation set.
const CONTINUE: u64 = u64::MAX;
/// What [`turn`] answers when the function goes on being interpreted.
const STAY: u64 = u64::MAX - 1;

/// A call of machine code, from the frame of the function itself.
struct Leave {
    trampoline: *const u8,
    code: *const u8,
    /// The size of the frame, which nested activations begin behind.
    frame: usize,
}

/// Runs the function of a frame as machine code, with its arguments where the frame has them.
///
/// In a frame of its own, so that handlers let no address escape.
#[inline(never)]
unsafe fn call(ip: *const u8, fp: *mut Cell, vm: *mut VmCtx) -> u64 {
    // SAFETY: the instruction was emitted with `NativeOps`, behind a prefix; frame, header and arguments stand
    // as for any function.
    unsafe {
        let o = ip.cast::<NativeOps>().read();
        let signature = &*signature_of(ip);
        let Some(module) = InterpModule::of(vm) else { return TrapCode::Internal as u64 };
        let ctx = (*vm).store;
        let header = fp.add(signature.param_cells as usize);
        if header.read() == module.halt_code() as u64 {
            // Nothing of this activation is left: whoever entered it goes on with the function.
            let window = (*ctx).ref_fp;
            let params = signature.param_cells + signature.ref_params;
            let results = signature.result_cells + signature.ref_results;
            let mut cells = vec![0; params.max(results) as usize];
            signature.gather(&signature.params, fp, window, &mut cells);
            let func = palisade_vm::builtins::ref_func(vm, module.func_idx(o.defined as u32).0);
            (*(*ctx).store).continuation = Continuation { func, cells };
            return CONTINUE;
        }
        let leave = Leave {
            trampoline: o.trampoline as *const u8,
            code: o.code as *const u8,
            frame: frame_bytes(ip),
        };
        if signature.ref_params == 0 && signature.ref_results == 0 {
            return run(module, ip, fp, vm, &leave, fp);
        }
        let params = signature.param_cells + signature.ref_params;
        let results = signature.result_cells + signature.ref_results;
        let mut cells = vec![0; params.max(results) as usize];
        signature.gather(&signature.params, fp, (*ctx).ref_fp, &mut cells);
        let status = run(module, ip, fp, vm, &leave, cells.as_mut_ptr());
        if status == 0 { deliver(signature, fp, vm, &cells) } else { status }
    }
}

/// Puts results from a buffer to where the caller expects them.
unsafe fn deliver(signature: &Signature, fp: *mut Cell, vm: *mut VmCtx, cells: &[Cell]) -> u64 {
    // SAFETY: the frame has room for the results, and the window is compared with its stack's end.
    unsafe {
        let ctx = (*vm).store;
        let window = (*ctx).ref_fp;
        let end = window.add(signature.ref_results as usize);
        if end > (*ctx).ref_limit {
            return TrapCode::StackOverflow as u64;
        }
        (*ctx).ref_high = (*ctx).ref_high.max(end);
        signature.scatter(&signature.results, cells, fp, window);
    }
    0
}

/// Enters machine code from a frame, which stands at `ip`. Returns 0 or the number of a trap code.
unsafe fn run(
    module: &InterpModule,
    ip: *const u8,
    fp: *mut Cell,
    vm: *mut VmCtx,
    leave: &Leave,
    cells: *mut Cell,
) -> u64 {
    // SAFETY: the trampoline is that of the function's type, or of the loop, and the code is the function's;
    // what the frame has in use ends with its size, which was compared with the stack's end.
    unsafe {
        let Some(config) = module.config().native else { return TrapCode::Internal as u64 };
        let ctx = (*vm).store;
        (*ctx).exit_ip = ip;
        (*ctx).exit_fp = fp;
        (*ctx).exit_vmctx = vm;
        let top = (*ctx).stack_top;
        (*ctx).stack_top = fp.byte_add(leave.frame);
        // The call was counted when this frame was entered.
        let counted = i64::from(config.counts_depth);
        (*ctx).depth_left += counted;
        let store = (*ctx).store;
        let entered = native::enter(store, leave.trampoline, leave.code, vm.cast(), cells);
        let outcome = match entered {
            Ok(Entered::Done) => Ok(()),
            Ok(Entered::Continue) => (config.finish)(store, cells),
            Err(code) => Err(code),
        };
        (*ctx).depth_left -= counted;
        (*ctx).stack_top = top;
        (*ctx).exit_ip = ip;
        (*ctx).exit_fp = fp;
        (*ctx).exit_vmctx = vm;
        outcome.map_or_else(|code| code as u64, |()| 0)
    }
}

/// Goes on in the caller of a frame whose function is done, its results at the start of the frame.
#[inline(always)]
unsafe fn leave_frame(mut s: State, ret: u64, fp: u64) -> Next {
    // SAFETY: the two words come from the frame's header.
    unsafe {
        (*(*s.vm).store).depth_left += 1;
        let first = s.fp.read();
        set_accumulators(&mut s, first);
        s.reload_memory();
    }
    s.ip = ret as *const u8;
    s.fp = fp as *mut Cell;
    Next::Go(s)
}

/// What follows a call of machine code from the frame whose header held these two words.
#[inline(always)]
unsafe fn after_call(s: State, status: u64, ret: u64, fp: u64) -> Next {
    match status {
        // SAFETY: passed on to the caller.
        0 => unsafe { leave_frame(s, ret, fp) },
        CONTINUE => {
            // SAFETY: the context is live. The activation's own call is over.
            unsafe { (*(*s.vm).store).depth_left += 1 };
            Next::Halt(s)
        }
        code => Next::Trap(s, trap_code(code as u32)),
    }
}

struct EnterNative;
impl Op for EnterNative {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: what leads to machine code is entered like code: frame, header and arguments stand as they
        // should. The header is read before results may overwrite it.
        unsafe {
            let params = (*signature_of(s.ip)).param_cells as usize;
            let header = s.fp.add(params);
            let (ret, fp) = (header.read(), header.add(1).read());
            let status = call(s.ip, s.fp, s.vm);
            after_call(s, status, ret, fp)
        }
    }
}
pub(crate) static ENTER_NATIVE: Handler = handler::<EnterNative>();

/// Counts an entry.
struct CountEntry;
impl Op for CountEntry {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the instruction was emitted with `TierOps`, whose offset names the function's counter.
        unsafe {
            let o = s.operands::<TierOps>();
            if count(s.vm, &o) {
                return Next::Jump(s, const { cold_handler::<HotEntry>() });
            }
        }
        s.after::<TierOps>()
    }
}
pub(crate) static COUNT_ENTRY: Handler = handler::<CountEntry>();

/// Counts, and says whether the limit is reached.
#[inline(always)]
unsafe fn count(vm: *mut VmCtx, o: &TierOps) -> bool {
    // SAFETY: the caller's operands name a counter of the context, which only the store's thread touches.
    unsafe {
        let counter = vm.byte_add(o.counter as usize).cast::<u32>();
        let value = counter.read().wrapping_add(1);
        counter.write(value);
        value >= o.limit
    }
}

/// Lets the function be asked about again later.
unsafe fn ask_again(vm: *mut VmCtx, o: &TierOps, again: u32) {
    // SAFETY: as for `count`.
    unsafe {
        let counter = vm.byte_add(o.counter as usize).cast::<u32>();
        counter.write(o.limit.saturating_sub(again.max(1)));
    }
}

/// An entry of a hot function: the next calls find its machine code, if it has some.
#[inline(never)]
unsafe fn entered(ip: *const u8, vm: *mut VmCtx) {
    // SAFETY: the instruction was emitted with `TierOps`, in code of the context's module.
    unsafe {
        let o = ip.cast::<TierOps>().read();
        let Some(tier) = InterpModule::of(vm).and_then(|module| module.config().tier) else {
            return;
        };
        (tier.entered)(vm, o.defined);
        ask_again(vm, &o, tier.again);
    }
}

struct HotEntry;
impl Op for HotEntry {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: as in `entered`.
        unsafe { entered(s.ip, s.vm) };
        s.after::<TierOps>()
    }
}

/// Counts a turn of a loop.
struct CountLoop;
impl Op for CountLoop {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: as for `CountEntry`.
        unsafe {
            let o = s.operands::<TierOps>();
            if count(s.vm, &o) {
                return Next::Jump(s, const { cold_handler::<HotLoop>() });
            }
        }
        s.after::<TierOps>()
    }
}
pub(crate) static COUNT_LOOP: Handler = handler::<CountLoop>();

/// The head of a hot loop: the function goes on as machine code, if there is some for this loop. Then its
/// results stand at the start of the frame.
#[inline(never)]
unsafe fn turn(ip: *const u8, fp: *mut Cell, vm: *mut VmCtx) -> u64 {
    // SAFETY: the instruction was emitted with `TierOps`, in code of the context's module; all values stand in
    // the slots that were noted for the loop.
    unsafe {
        let o = ip.cast::<TierOps>().read();
        let Some(module) = InterpModule::of(vm) else { return STAY };
        let Some(tier) = module.config().tier else { return STAY };
        let Some(entry) = (tier.looped)(vm, o.defined, o.offset) else {
            ask_again(vm, &o, tier.again);
            return STAY;
        };
        let Some(stub) = module.native_stub_of(o.defined) else { return STAY };
        let (Some(mut cells), signature) = (state(module, &o, fp, vm), &*signature_of(stub)) else {
            return STAY;
        };
        let results = (signature.result_cells + signature.ref_results) as usize;
        if cells.len() < results {
            cells.resize(results, 0);
        }
        let LoopEntry { trampoline, code } = entry;
        let leave = Leave { trampoline, code, frame: frame_bytes(stub) };
        let status = run(module, stub, fp, vm, &leave, cells.as_mut_ptr());
        if status == 0 { deliver(signature, fp, vm, &cells) } else { status }
    }
}

/// The locals and the operand stack at the head of a loop, in order.
unsafe fn state(
    module: &InterpModule,
    o: &TierOps,
    fp: *mut Cell,
    vm: *mut VmCtx,
) -> Option<Vec<Cell>> {
    let loops = module.loops(o.defined)?;
    let stack = loops.stacks.get(o.which as usize)?;
    // SAFETY: the slots are those of the running frame and of its window, which begins at `ref_fp` while
    // nothing is being called.
    let window: *mut VmRef = unsafe { (*(*vm).store).ref_fp };
    let mut cells = Vec::with_capacity(loops.locals.len() + stack.len() + 4);
    for &(ty, slot) in loops.locals.iter().chain(stack) {
        let slot = slot as usize;
        // SAFETY: as above.
        unsafe {
            if ty == Ty::Ref {
                cells.push(u64::from(window.add(slot).read().0));
                continue;
            }
            for cell in 0..ty.cells() as usize {
                cells.push(fp.add(slot + cell).read());
            }
        }
    }
    Some(cells)
}

struct HotLoop;
impl Op for HotLoop {
    #[inline(always)]
    unsafe fn exec(mut s: State) -> Next {
        // SAFETY: as in `turn`. The frame's header stands where the function's signature says, and is read
        // before results may overwrite it.
        unsafe {
            let header = s.fp.add(s.operands::<TierOps>().header as usize);
            let (ret, fp) = (header.read(), header.add(1).read());
            let status = turn(s.ip, s.fp, s.vm);
            if status == STAY {
                return s.after::<TierOps>();
            }
            s.ip = stub_of(s.ip, s.vm);
            after_call(s, status, ret, fp)
        }
    }
}

/// What leads to the machine code of the function whose loop turns; null if there is none.
#[inline(never)]
unsafe fn stub_of(ip: *const u8, vm: *mut VmCtx) -> *const u8 {
    // SAFETY: as in `turn`.
    unsafe {
        let o = ip.cast::<TierOps>().read();
        let stub = InterpModule::of(vm).and_then(|module| module.native_stub_of(o.defined));
        stub.unwrap_or(std::ptr::null())
    }
}
