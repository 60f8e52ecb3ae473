//! Entering the interpreter from the host, and the self-test of the tail-call dispatcher.

use std::sync::OnceLock;

use palisade_core::TrapCode;
use palisade_vm::layout::{Cell, VmCtx, VmFuncRef, VmRef, VmStoreCtx};
use palisade_vm::sample::Activation;
use palisade_vm::store::StoreInner;

use crate::code::{Glue, InterpModule, code_word};
use crate::ops::call::{HEADER_CELLS, code_of, fits_but_for_sampling, signature_of, trap_code};
use crate::ops::control::{BR_TEST, BranchOps, HALT};
use crate::state::{Next, Op, State, handler, run};
use crate::trace::{self, Frame};
use crate::unwind::unwind;

/// Calls a function with the arguments in `cells`, in signature order; its results replace them.
///
/// # Errors
///
/// A trap of the guest, or of the host function that is called. An error of the host stands in the
/// store's `pending_error`, with the code [`TrapCode::Internal`]. The frames that were active are added to the store's `trace`.
///
/// # Safety
///
/// `store` is live and used by nobody else meanwhile, but for host functions that it calls itself;
/// `func` belongs to it; `cells` has the values that the function's type asks for, and room for its results.
pub unsafe fn call(
    store: *mut StoreInner,
    func: *mut VmFuncRef,
    cells: *mut Cell,
) -> Result<(), TrapCode> {
    // SAFETY: forwarded from the caller.
    unsafe {
        if !(*func).host.is_null() {
            let host = (*func).host;
            let status = ((*host).code)(host, store, std::ptr::null_mut(), cells);
            if status == 0 {
                return Ok(());
            }
            return Err(trap_code(status));
        }
        let vm = (*func).vmctx;
        let ctx = (*vm).store;
        let here = 0u8;
        if (&raw const here as usize) < (*ctx).host_stack_limit {
            return Err(TrapCode::StackOverflow);
        }
        let saved = Saved::new(ctx);
        saved.activation.enter(ctx);
        let result = enter(ctx, vm, func, cells);
        saved.restore(ctx, result.is_err());
        result
    }
}

/// What an activation changes in the store's context and has to leave as it was.
struct Saved {
    stack_top: *mut Cell,
    ref_fp: *mut VmRef,
    depth_left: i64,
    activation: Activation,
}

impl Saved {
    unsafe fn new(ctx: *const VmStoreCtx) -> Self {
        // SAFETY: the caller passes a live context.
        unsafe {
            Self {
                stack_top: (*ctx).stack_top,
                ref_fp: (*ctx).ref_fp,
                depth_left: (*ctx).depth_left,
                activation: Activation::new(ctx),
            }
        }
    }

    unsafe fn restore(&self, ctx: *mut VmStoreCtx, trapped: bool) {
        // SAFETY: the caller passes the context that this was made from.
        unsafe {
            (*ctx).stack_top = self.stack_top;
            (*ctx).ref_fp = self.ref_fp;
            if trapped {
                (*ctx).depth_left = self.depth_left;
            }
            self.activation.leave(ctx);
        }
    }
}

unsafe fn enter(
    ctx: *mut VmStoreCtx,
    vm: *mut VmCtx,
    func: *mut VmFuncRef,
    cells: *mut Cell,
) -> Result<(), TrapCode> {
    // SAFETY: the caller of `call` passes a live function of Wasm and its arguments. The check
    // below covers everything that is written to the stack here.
    unsafe {
        let Some(module) = InterpModule::of(vm) else { return Err(TrapCode::Internal) };
        let code = code_of(func);
        let signature = &*signature_of(code);
        let fp = (*ctx).stack_top;
        let params = signature.param_cells as usize;
        let room = params.max(signature.result_cells as usize) + HEADER_CELLS as usize;
        let frame = code.cast::<usize>().sub(1).read().max(room * 8);
        let interrupts = (*vm).interrupts;
        let limit = (*interrupts).stack_limit.load(std::sync::atomic::Ordering::Relaxed);
        if fp as usize + frame > limit && !fits_but_for_sampling(vm, fp, frame) {
            let reason = (*interrupts).reason.load(std::sync::atomic::Ordering::Relaxed);
            return Err(if reason != 0 { trap_code(reason) } else { TrapCode::StackOverflow });
        }
        if (*ctx).depth_left <= 0 {
            return Err(TrapCode::CallDepthExceeded);
        }
        (*ctx).depth_left -= 1;
        let window = (*ctx).ref_fp;
        let ref_room = signature.ref_params.max(signature.ref_results) as usize;
        if window.add(ref_room) > (*ctx).ref_limit {
            return Err(TrapCode::StackOverflow);
        }
        (*ctx).ref_high = (*ctx).ref_high.max(window.add(ref_room));
        let arguments = std::slice::from_raw_parts(cells, params + signature.ref_params as usize);
        signature.scatter(&signature.params, arguments, fp, window);
        let header = fp.add(params);
        header.write(Glue::get(module.tail_calls()).halt_code() as u64);
        header.add(1).write(0);
        let mut state = State {
            ip: code,
            fp,
            mem: std::ptr::null_mut(),
            len: 0,
            vm,
            acc: 0,
            f32a: 0.0,
            f64a: 0.0,
        };
        state.reload_memory();
        let mut status = run(state, module.tail_calls());
        while status == TrapCode::UncaughtException as u64 && !(*ctx).pending_exn.is_null() {
            status = match unwind(ctx) {
                Ok(Some(state)) => run(state, module.tail_calls()),
                Ok(None) => break,
                Err(code) => {
                    (*ctx).pending_exn = VmRef::NULL;
                    code as u64
                }
            };
        }
        if status != 0 {
            let code = trap_code(status as u32);
            trace::frames(Frame::left(ctx), &mut (*(*ctx).store).trace);
            return Err(code);
        }
        if !(*(*ctx).store).continuation.func.is_null() {
            // Another function gives the results, in place of this one.
            return Ok(());
        }
        let count = signature.result_cells as usize + signature.ref_results as usize;
        let results = std::slice::from_raw_parts_mut(cells, count);
        signature.gather(&signature.results, fp, window, results);
        Ok(())
    }
}

/// Counts the accumulator down, and notes the lowest address of the host's stack that it sees.
struct Probe;

impl Op for Probe {
    unsafe fn exec(mut s: State) -> Next {
        s.acc = s.acc.wrapping_sub(1);
        // SAFETY: the self-test passes a frame of one cell.
        unsafe {
            let here = stack_address();
            if here < s.cell(0) {
                s.set_cell(0, here);
            }
        }
        s.after::<u64>()
    }
}

/// Roughly where the stack pointer is.
#[inline(never)]
fn stack_address() -> u64 {
    let here = 0u8;
    std::hint::black_box(&raw const here) as u64
}

/// Whether this build's tail-call dispatcher really replaces its frames: a loop of a few thousand
/// instructions must not move the stack pointer by more than a few frames. Found out once.
pub fn tail_calls_work() -> bool {
    static WORK: OnceLock<bool> = OnceLock::new();
    *WORK.get_or_init(|| {
        const ROUNDS: u64 = 2_000;
        /// What the loop may move the stack by: far less than a byte for each instruction.
        const SLACK: u64 = 1_024;
        // Probe, then a branch back to it while the accumulator is not zero, then the end.
        let branch =
            BranchOps { handler: code_word(BR_TEST[1][1][0], true), offset: -8, a: 0, pad: 0 };
        let code = [
            code_word(handler::<Probe>(), true),
            branch.handler,
            u64::from(branch.offset as u32),
            code_word(HALT, true),
        ];
        let measure = |rounds: u64| {
            let mut frame = [u64::MAX];
            let state = State {
                ip: code.as_ptr().cast(),
                fp: frame.as_mut_ptr(),
                mem: std::ptr::null_mut(),
                len: 0,
                vm: std::ptr::null_mut(),
                acc: rounds,
                f32a: 0.0,
                f64a: 0.0,
            };
            // SAFETY: the three instructions touch neither memory nor context, and the one slot
            // that they use is in `frame`.
            unsafe { run(state, true) };
            frame[0]
        };
        measure(1).saturating_sub(measure(ROUNDS)) < SLACK
    })
}
