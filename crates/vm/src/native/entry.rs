//! Entering machine code, and what its stubs call: other engines and the host.
//!
//! An entry saves in a [`Segment`], on the host's stack, whatever it changes for the whole store, and puts all of it
//! back, however it ends. Nothing here holds a reference into the store while a guest runs.

use std::sync::Arc;

use palisade_core::{TrapCode, ValType};

use super::calls::{BuiltinRet, CONTINUE, finish_stub};
use super::ranges::Ranges;
use super::stack::MachineStack;
use super::{CodeRegistry, arch, traps, walk};
use crate::builtins::growth_trap;
use crate::error::VmError;
use crate::layout::{Cell, VmCtx, VmFuncRef, VmStoreCtx};
use crate::store::StoreInner;
use crate::sys::host_stack;

/// What the runtime asks the crate above it for, since it does not know the other engines.
#[derive(Copy, Clone, Debug)]
pub struct EngineHooks {
    /// Calls any function that is no machine code, with the arguments in cells, in signature order; its results replace
    /// them. The contract is that of the engines' own `call`.
    pub call: unsafe fn(
        store: *mut StoreInner,
        func: *mut VmFuncRef,
        cells: *mut Cell,
    ) -> Result<(), TrapCode>,
}

/// What a store that runs machine code is made with.
#[derive(Clone, Debug)]
pub struct NativeConfig {
    /// The machine code of the engine.
    pub registry: Arc<CodeRegistry>,
    /// What the runtime asks for.
    pub hooks: EngineHooks,
}

/// What a store has for machine code, beside the state that machine code sees.
#[derive(Debug, Default)]
pub(crate) struct NativeStore {
    /// Made when machine code is first entered.
    stack: Option<MachineStack>,
    pub(super) ranges: Ranges,
}

/// One entry into machine code, on the host's stack, as long as it lasts.
#[repr(C)]
#[derive(Debug)]
pub struct Segment {
    /// The entry outside of this one.
    pub previous: *mut Segment,
    /// What this entry changed, and puts back.
    pub(crate) left: Left,
}

/// Where the segment outside was left.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Left {
    host_sp: *mut u8,
    pub(crate) exit_fp: *mut u8,
    exit_pc: usize,
    exit_sp: *mut u8,
    caller: *mut VmCtx,
}

/// How an entry ended that did not fail.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Entered {
    /// The results stand in the cells.
    Done,
    /// The function ended with a tail call of one that is no machine code: whoever entered is to call the one in
    /// [`StoreInner::continuation`] in its place, before anything else is done with the store. What that returns is
    /// what this function returns.
    Continue,
}

/// A call that is to be made in place of the one that just ended.
#[derive(Debug)]
pub struct Continuation {
    /// The function.
    pub func: *mut VmFuncRef,
    /// Its arguments, in signature order, with room for its results. References among them are no roots: nothing may
    /// be allocated before the call.
    pub cells: Vec<Cell>,
}

impl Continuation {
    pub(crate) const NONE: Self = Self { func: std::ptr::null_mut(), cells: Vec::new() };
}

/// What must be left of the machine stack for an entry.
const ROOM: usize = 16 << 10;

/// How far below the frame that left machine code the next entry begins.
const BELOW: usize = 128;

impl StoreInner {
    /// Makes the machine stack, and everything else that machine code needs to run on this thread.
    fn prepare_native(&mut self) -> Result<(), VmError> {
        traps::prepare_thread().map_err(VmError::system("a signal stack", 0))?;
        if self.native.stack.is_some() {
            return Ok(());
        }
        let bytes = self.config.value_stack_bytes;
        let stack = MachineStack::new(bytes);
        let stack = stack.map_err(VmError::system("the machine stack", bytes as u64))?;
        // SAFETY: the context is owned by the store, on its own thread.
        let state = unsafe { &mut (*self.ctx_ptr()).native };
        (state.stack_guard, state.stack_reserve) = (stack.guard(), stack.reserve());
        (state.stack_low, state.stack_high) = (stack.low(), stack.high());
        self.native.stack = Some(stack);
        Ok(())
    }

    /// Tells machine code, and those who look after it, what they need to know of the store.
    pub(crate) fn init_native(&mut self) {
        let Some(config) = &self.config.native else { return };
        // SAFETY: the context is owned by the store, on its own thread; the registry lives as long as the
        // configuration.
        let state = unsafe { &mut (*self.ctx_ptr()).native };
        state.registry = Arc::as_ptr(&config.registry);
        state.interrupts = Arc::as_ptr(self.interrupt.interrupts());
        state.poll = self.interrupt.poll_region() as usize;
    }
}

/// Runs machine code: switches to the store's machine stack and calls `trampoline(code, callee, cells)` there. The
/// trampoline loads arguments from the cells, in signature order, calls `code` with `callee` as its context, and
/// stores the results to the cells.
///
/// # Errors
///
/// A trap of the guest, or of a host function that it called. An exception that nobody caught stands in
/// `pending_exn`, with [`TrapCode::UncaughtException`]. The frames of the segment are in [`StoreInner::trace`], behind
/// those of activations inside.
///
/// # Safety
///
/// `store` is live, was made with a [`NativeConfig`], and is used by nobody else meanwhile; no Rust reference into it
/// is held. The trampoline and the code are published in its registry and stay so; the trampoline is one for the
/// code's signature; `callee` is the context that goes with the code; `cells` has the arguments, and room for
/// the results.
pub unsafe fn enter(
    store: *mut StoreInner,
    trampoline: *const u8,
    code: *const u8,
    callee: *mut u8,
    cells: *mut Cell,
) -> Result<Entered, TrapCode> {
    // SAFETY: the caller's word; every reference ends with its statement.
    unsafe {
        let ctx = (*store).ctx_ptr();
        if host_stack::position() < (*ctx).host_stack_limit {
            return Err(TrapCode::StackOverflow);
        }
        if (*store).native.stack.is_none() || !traps::thread_is_prepared() {
            let prepared = (*store).prepare_native();
            prepared.map_err(|error| growth_trap(&mut *store, error))?;
        }
        let state = &raw mut (*ctx).native;
        (*(*state).interrupts).poll()?;
        let top = if (*state).segment.is_null() {
            (*state).stack_high
        } else {
            ((*state).exit_fp as usize - BELOW) & !15
        };
        if top < (*state).stack_low + ROOM {
            return Err(TrapCode::StackOverflow);
        }
        let left = Left {
            host_sp: (*state).host_sp,
            exit_fp: (*state).exit_fp,
            exit_pc: (*state).exit_pc,
            exit_sp: (*state).exit_sp,
            caller: (*state).caller,
        };
        let mut segment = Segment { previous: (*state).segment, left };
        let depth = (*ctx).depth_left;
        (*state).segment = &raw mut segment;
        (*state).exit_fp = std::ptr::null_mut();
        (*state).exit_pc = 0;
        // Whoever enters is no instance: a host function that is entered through its stub has no caller.
        (*state).caller = std::ptr::null_mut();
        let current = traps::enter(ctx);
        let status = arch::enter(ctx, trampoline, code, callee, cells, top);
        traps::leave(current);
        let result = match status {
            0 => Ok(Entered::Done),
            CONTINUE => Ok(Entered::Continue),
            code => Err(u8::try_from(code)
                .ok()
                .and_then(TrapCode::from_u8)
                .unwrap_or(TrapCode::Internal)),
        };
        if let Err(code) = result {
            walk::describe_segment(ctx, code);
            (*ctx).depth_left = depth;
        }
        if (*state).reserve_open != 0 {
            traps::close_reserve(&mut *state);
            (*store).interrupt.reopen_polls();
        }
        (*state).segment = segment.previous;
        (*state).host_sp = segment.left.host_sp;
        (*state).exit_fp = segment.left.exit_fp;
        (*state).exit_pc = segment.left.exit_pc;
        (*state).exit_sp = segment.left.exit_sp;
        (*state).caller = segment.left.caller;
        result
    }
}

/// What a stub into another engine calls.
///
/// # Safety
///
/// Called by its wrapper: `ctx` is the context of a live store whose machine code was just left; the function is the
/// store's, and the cells hold its arguments and have room for its results.
pub(super) unsafe extern "C" fn call_interp(
    ctx: *mut VmStoreCtx,
    func: *mut VmFuncRef,
    cells: *mut Cell,
) -> BuiltinRet {
    // SAFETY: the caller's word. The stub's frame, and that of its caller, stand where machine code was left.
    unsafe {
        let stub: *const *const usize = (*ctx).native.exit_fp.cast();
        let caller: *const *const usize = (*stub).cast();
        if (**caller) == 0 {
            // The trampoline called the stub, directly or by a tail call: there is nothing to come back to.
            (*(*ctx).store).continue_with(func, cells);
            return BuiltinRet { value: 0, status: CONTINUE };
        }
        finish_stub(ctx, || {
            let store = (*ctx).store;
            let hooks = (*store).config.native.as_ref().map(|native| native.hooks);
            (hooks.ok_or(TrapCode::Internal)?.call)(store, func, cells).map(|()| 0)
        })
    }
}

/// How machine code goes on when a host function that it called has answered with a trap: it is called by the wrapper,
/// which calls the function's own code without anything in between.
///
/// # Safety
///
/// As [`call_interp`]; the code is what the host function gave.
pub(super) unsafe extern "C" fn host_failed(ctx: *mut VmStoreCtx, code: u32) -> BuiltinRet {
    let code = u8::try_from(code).ok().and_then(TrapCode::from_u8);
    // SAFETY: the caller's word.
    unsafe { finish_stub(ctx, || Err(code.unwrap_or(TrapCode::Internal))) }
}

impl StoreInner {
    /// Keeps a call for whoever entered.
    ///
    /// # Safety
    ///
    /// The function is of this store, and the cells hold its arguments.
    unsafe fn continue_with(&mut self, func: *mut VmFuncRef, cells: *const Cell) {
        let count = |types: &[ValType]| -> usize {
            types.iter().map(|ty| if *ty == ValType::V128 { 2 } else { 1 }).sum()
        };
        // SAFETY: the caller's word.
        let ty = self.types.func_type(unsafe { (*func).type_id });
        let (params, results) =
            ty.as_ref().map_or((0, 0), |ty| (count(&ty.params), count(&ty.results)));
        let kept = &mut self.continuation;
        kept.func = func;
        kept.cells.clear();
        // SAFETY: as above.
        kept.cells.extend_from_slice(unsafe { std::slice::from_raw_parts(cells, params) });
        kept.cells.resize(params.max(results), 0);
    }
}
