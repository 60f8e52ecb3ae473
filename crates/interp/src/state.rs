//! The machine state of the interpreter and the one form in which every operation is written.
//!
//! An operation is a type that implements [`Op`]: a function from state to [`Next`]. Two
//! dispatchers are made from it. [`tail`] wraps it into a handler that ends in a sibling call of the
//! next handler, so that the state stays in registers: six integer arguments and two floating-point
//! ones are what the System V calling convention passes there. [`step`] wraps it for a loop that calls one
//! operation after the other, which is right on every compiler and in every build.
//!
//! Code is a sequence of 8-byte words. An instruction begins with the address of its handler (of
//! the `tail` or the `step` form, as its engine was configured); its operands follow, naturally
//! aligned.
//!
//! Invariants: an `Op` keeps nothing alive that has a destructor and lets no address of a local escape
//! (either would keep the compiler from making the sibling call); whatever is slow is an operation
//! of its own, reached by [`Next::Jump`]. A panic below an operation (a bug of ours) unwinds through the
//! handlers to whoever entered: there is nothing in them to clean up. Every `exec` is `#[inline(always)]`, since it returns through
//! memory otherwise; what it calls takes and returns scalars only.

use std::any::type_name;

use palisade_core::TrapCode;
use palisade_core::simd::V128;
use palisade_vm::layout::{Cell, VmCtx};

/// What an instruction works on.
#[derive(Copy, Clone, Debug)]
pub(crate) struct State {
    /// The current instruction.
    pub(crate) ip: *const u8,
    /// The frame of the running function.
    pub(crate) fp: *mut Cell,
    /// The first byte of memory 0.
    pub(crate) mem: *mut u8,
    /// The length of memory 0.
    pub(crate) len: usize,
    /// The context of the running instance.
    pub(crate) vm: *mut VmCtx,
    /// The last integer result.
    pub(crate) acc: u64,
    /// The last `f32` result.
    pub(crate) f32a: f32,
    /// The last `f64` result.
    pub(crate) f64a: f64,
}

/// A handler of the tail-call dispatcher.
#[cfg(target_arch = "x86_64")]
pub(crate) type Tail = unsafe extern "sysv64-unwind" fn(
    *const u8,
    *mut Cell,
    *mut u8,
    usize,
    *mut VmCtx,
    u64,
    f32,
    f64,
) -> u64;
/// A handler of the tail-call dispatcher.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) type Tail = unsafe extern "C-unwind" fn(
    *const u8,
    *mut Cell,
    *mut u8,
    usize,
    *mut VmCtx,
    u64,
    f32,
    f64,
) -> u64;

/// A handler of the loop dispatcher.
pub(crate) type Step = unsafe fn(&mut State) -> u64;

/// What a [`Step`] returns when the next instruction is to follow.
pub(crate) const CONTINUE: u64 = u64::MAX;

/// An operation that instructions are made of.
///
/// There are thousands, in tables that stand in every process. So each is one address, of a function that says the rest:
/// what the loader has to do for them is part of the time that the smallest guest takes.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Handler(fn() -> Forms);

/// Both forms of an operation, and what it is.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Forms {
    pub(crate) tail: Tail,
    pub(crate) step: Step,
    /// The operation's type, for people who look at code.
    pub(crate) name: &'static str,
}

impl Handler {
    pub(crate) fn forms(self) -> Forms {
        (self.0)()
    }
}

/// Both forms of an operation that others go on to.
#[derive(Copy, Clone)]
pub(crate) struct Jump {
    tail: Tail,
    step: Step,
}

/// What follows an operation.
pub(crate) enum Next {
    /// The instruction at `ip`.
    Go(State),
    /// A trap at `ip`.
    Trap(State, TrapCode),
    /// Another operation, with the same operands.
    Jump(State, Jump),
    /// The activation is over.
    Halt(State),
}

/// An operation.
pub(crate) trait Op {
    /// Carries the operation out.
    ///
    /// # Safety
    ///
    /// `s.ip` points to an instruction of this operation in translated code, `s.fp` to a frame of
    /// that code's function inside the value stack, and `s.vm` to the live context of an instance
    /// of its module, whose memory 0 `s.mem` and `s.len` describe.
    unsafe fn exec(s: State) -> Next;
}

/// An operation for instructions.
pub(crate) const fn handler<O: Op>() -> Handler {
    fn forms<O: Op>() -> Forms {
        Forms { tail: tail::<O>, step: step::<O>, name: type_name::<O>() }
    }
    Handler(forms::<O>)
}

/// An operation that others go on to.
pub(crate) const fn jump_to<O: Op>() -> Jump {
    Jump { tail: tail::<O>, step: step::<O> }
}

/// An operation that others go on to where their own handler is not enough.
pub(crate) const fn cold_handler<O: Op>() -> Jump {
    Jump { tail: tail_cold::<O>, step: step::<O> }
}

/// Leaves Wasm because of a trap: notes where, and returns the code to whoever entered.
#[cold]
#[inline(never)]
unsafe fn leave(ip: *const u8, fp: *mut Cell, vm: *mut VmCtx, code: u64) -> u64 {
    // SAFETY: `vm` is the live context of the running instance, and its store context outlives it.
    unsafe {
        let store = (*vm).store;
        (*store).exit_ip = ip;
        (*store).exit_fp = fp;
        (*store).exit_vmctx = vm;
    }
    code
}

/// [`leave`] and the handlers of the tail-call dispatcher, in its calling convention.
macro_rules! tail_handlers {
    ($abi:literal) => {
        /// [`leave`] as a handler, so that it can be reached by a sibling call.
        #[cold]
        #[inline(never)]
        unsafe extern $abi fn leave_tail(
            ip: *const u8,
            fp: *mut Cell,
            _mem: *mut u8,
            _len: usize,
            vm: *mut VmCtx,
            acc: u64,
            _f32a: f32,
            _f64a: f64,
        ) -> u64 {
            // SAFETY: called with the state of a running instance.
            unsafe { leave(ip, fp, vm, acc) }
        }

        tail_handler! {
            /// An operation as a handler of the tail-call dispatcher.
            ///
            /// # Safety
            ///
            /// As for [`Op::exec`].
            $abi tail
        }

        tail_handler! {
            /// An operation that is seldom gone on to, as a handler of the tail-call dispatcher: never
            /// made part of the handler that jumps to it, which would have to save registers for it.
            ///
            /// # Safety
            ///
            /// As for [`Op::exec`].
            #[cold]
            #[inline(never)]
            $abi tail_cold
        }
    };
}

macro_rules! tail_handler {
    ($(#[$attr:meta])* $abi:literal $name:ident) => {
        $(#[$attr])*
        pub(crate) unsafe extern $abi fn $name<O: Op>(
            ip: *const u8,
            fp: *mut Cell,
            mem: *mut u8,
            len: usize,
            vm: *mut VmCtx,
            acc: u64,
            f32a: f32,
            f64a: f64,
        ) -> u64 {
            let state = State { ip, fp, mem, len, vm, acc, f32a, f64a };
            // SAFETY: the caller upholds `Op::exec`'s contract; the state that it returns points to
            // an instruction whose first word is a handler of this dispatcher.
            unsafe {
                match O::exec(state) {
                    Next::Go(s) => {
                        let next = s.ip.cast::<Tail>().read();
                        next(s.ip, s.fp, s.mem, s.len, s.vm, s.acc, s.f32a, s.f64a)
                    }
                    Next::Trap(s, code) => {
                        leave_tail(s.ip, s.fp, s.mem, s.len, s.vm, code as u64, s.f32a, s.f64a)
                    }
                    Next::Jump(s, to) => {
                        (to.tail)(s.ip, s.fp, s.mem, s.len, s.vm, s.acc, s.f32a, s.f64a)
                    }
                    Next::Halt(_) => 0,
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
tail_handlers!("sysv64-unwind");
#[cfg(not(target_arch = "x86_64"))]
tail_handlers!("C-unwind");

#[cfg(target_arch = "x86_64")]
tail_handler! {
    /// An operation on vectors as a handler of the tail-call dispatcher, for processors that have
    /// AVX: the same operation, compiled to better instructions.
    ///
    /// # Safety
    ///
    /// As for [`Op::exec`]; and the processor has these features.
    #[target_feature(enable = "avx,ssse3,sse4.1,sse4.2,popcnt")]
    "sysv64-unwind" tail_wide
}

/// An operation on vectors: its common form, and one for processors with more vector
/// instructions than are taken for granted.
#[derive(Copy, Clone)]
pub(crate) struct VecHandler {
    plain: Handler,
    wide: Handler,
}

/// An operation on vectors; `W` is the one that may use more instructions.
pub(crate) const fn vec_handler<O: Op, W: Op>() -> VecHandler {
    #[cfg(target_arch = "x86_64")]
    let wide = {
        fn forms<O: Op, W: Op>() -> Forms {
            Forms { tail: tail_wide::<W>, step: step::<O>, name: type_name::<W>() }
        }
        Handler(forms::<O, W>)
    };
    #[cfg(not(target_arch = "x86_64"))]
    let wide = handler::<W>();
    VecHandler { plain: handler::<O>(), wide }
}

impl VecHandler {
    /// The form that is best on this processor.
    pub(crate) fn pick(self) -> Handler {
        if has_wide() { self.wide } else { self.plain }
    }
}

/// Whether the processor has what [`tail_wide`] needs.
#[cfg(target_arch = "x86_64")]
fn has_wide() -> bool {
    std::is_x86_feature_detected!("avx")
        && std::is_x86_feature_detected!("ssse3")
        && std::is_x86_feature_detected!("sse4.1")
        && std::is_x86_feature_detected!("sse4.2")
        && std::is_x86_feature_detected!("popcnt")
}

/// No processor of another architecture needs a second form.
#[cfg(not(target_arch = "x86_64"))]
fn has_wide() -> bool {
    false
}

/// An operation as a handler of the loop dispatcher.
///
/// # Safety
///
/// As for [`Op::exec`].
pub(crate) unsafe fn step<O: Op>(state: &mut State) -> u64 {
    // SAFETY: the caller upholds `Op::exec`'s contract.
    unsafe {
        match O::exec(*state) {
            Next::Go(s) => {
                *state = s;
                CONTINUE
            }
            Next::Trap(s, code) => leave(s.ip, s.fp, s.vm, code as u64),
            Next::Jump(s, to) => {
                *state = s;
                (to.step)(state)
            }
            Next::Halt(s) => {
                *state = s;
                0
            }
        }
    }
}

/// Runs from `state` until the activation is over. Returns 0 or the number of a trap code.
///
/// # Safety
///
/// As for [`Op::exec`]; the code holds handlers of the dispatcher that `tail_calls` names.
pub(crate) unsafe fn run(mut state: State, tail_calls: bool) -> u64 {
    // SAFETY: forwarded from the caller.
    unsafe {
        if tail_calls {
            let s = state;
            let first = s.ip.cast::<Tail>().read();
            return first(s.ip, s.fp, s.mem, s.len, s.vm, s.acc, s.f32a, s.f64a);
        }
        loop {
            let next = state.ip.cast::<Step>().read();
            let status = next(&mut state);
            if status != CONTINUE {
                return status;
            }
        }
    }
}

impl State {
    /// A state for work that is done outside of a handler.
    pub(crate) fn without_accumulators(ip: *const u8, fp: *mut Cell, vm: *mut VmCtx) -> Self {
        Self { ip, fp, mem: std::ptr::null_mut(), len: 0, vm, acc: 0, f32a: 0.0, f64a: 0.0 }
    }

    /// The operands of the current instruction.
    ///
    /// # Safety
    ///
    /// The current instruction was emitted with operands of type `T`.
    #[inline(always)]
    pub(crate) unsafe fn operands<T: Copy>(&self) -> T {
        // SAFETY: code is 8-byte aligned and the caller knows the operands' type.
        unsafe { self.ip.cast::<T>().read() }
    }

    /// Goes on behind an instruction with operands of type `T`.
    #[inline(always)]
    pub(crate) fn after<T>(mut self) -> Next {
        self.ip = self.ip.wrapping_add(size_of::<T>());
        Next::Go(self)
    }

    /// A cell of the frame.
    ///
    /// # Safety
    ///
    /// The slot belongs to the frame of the running function.
    #[inline(always)]
    pub(crate) unsafe fn cell(&self, slot: u16) -> Cell {
        // SAFETY: function entry checked that the whole frame lies inside the value stack.
        unsafe { self.fp.add(slot as usize).read() }
    }

    /// Sets a cell of the frame.
    ///
    /// # Safety
    ///
    /// The slot belongs to the frame of the running function.
    #[inline(always)]
    pub(crate) unsafe fn set_cell(&self, slot: u16, value: Cell) {
        // SAFETY: function entry checked that the whole frame lies inside the value stack.
        unsafe { self.fp.add(slot as usize).write(value) }
    }

    /// A vector in two cells of the frame, the low half first.
    ///
    /// # Safety
    ///
    /// The slot and the next one belong to the frame of the running function.
    #[inline(always)]
    pub(crate) unsafe fn vec(&self, slot: u16) -> V128 {
        // SAFETY: function entry checked that the whole frame lies inside the value stack.
        unsafe { self.fp.add(slot as usize).cast::<V128>().read_unaligned() }
    }

    /// Sets two cells of the frame to a vector.
    ///
    /// # Safety
    ///
    /// The slot and the next one belong to the frame of the running function.
    #[inline(always)]
    pub(crate) unsafe fn set_vec(&self, slot: u16, value: V128) {
        // SAFETY: function entry checked that the whole frame lies inside the value stack.
        unsafe { self.fp.add(slot as usize).cast::<V128>().write_unaligned(value) }
    }

    /// Reads memory 0's place and length anew, after something that may have changed them.
    ///
    /// # Safety
    ///
    /// `self.vm` is a live context.
    #[inline(always)]
    pub(crate) unsafe fn reload_memory(&mut self) {
        // SAFETY: a context always has a definition for memory 0, an empty one if need be.
        unsafe {
            let def = (*self.vm).memory0;
            self.mem = (*def).base;
            self.len = (*def).len.load(std::sync::atomic::Ordering::Relaxed);
        }
    }
}
