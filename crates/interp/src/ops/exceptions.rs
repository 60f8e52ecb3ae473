//! `throw` and `throw_ref`: the exception goes to `pending_exn` in the store's context, and the guest is
//! left as by a trap. What catches it is found outside ([`crate::unwind`]).

use palisade_core::TrapCode;
use palisade_vm::builtins::gc;
use palisade_vm::layout::{Cell, VmCtx};

use crate::code::InterpModule;
use crate::ops::arith::Slots;
use crate::ops::call::trap_code;
use crate::ops::gc::init_fields;
use crate::ops::refs::get;
use crate::ops::slow::note_exit;
use crate::state::{Handler, Next, Op, State, handler};

/// Operands of `throw`.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct ThrowOps {
    pub(crate) handler: u64,
    /// The tag, in the module's index space.
    pub(crate) tag: u32,
    /// The slot of the first cell of the values.
    pub(crate) base: u16,
    /// The slot of the first reference among the values.
    pub(crate) refs: u16,
    /// How many references of the window are in use, those of the values included.
    pub(crate) live: u32,
    pub(crate) pad: u32,
}

struct Throw;
impl Op for Throw {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the instruction was emitted with `ThrowOps`.
        let status = unsafe { throw(s.ip, s.fp, s.vm) };
        Next::Trap(s, trap_code(status))
    }
}
/// Throws a new exception.
pub(crate) static THROW: Handler = handler::<Throw>();

/// Makes an exception and lets it be pending. Returns the number of a trap code.
///
/// In a frame of its own, so that handlers let no address escape.
#[inline(never)]
unsafe fn throw(ip: *const u8, fp: *mut Cell, vm: *mut VmCtx) -> u32 {
    // SAFETY: the instruction was emitted with `ThrowOps`: the values of the tag's type stand in its slots,
    // side by side.
    match unsafe { make(ip, fp, vm) } {
        Ok(()) => TrapCode::UncaughtException as u32,
        Err(code) => code as u32,
    }
}

unsafe fn make(ip: *const u8, fp: *mut Cell, vm: *mut VmCtx) -> Result<(), TrapCode> {
    // SAFETY: as for `throw`. The references are read after the allocation, which may move what they lead to
    // and changes them in the window.
    unsafe {
        let s = State::without_accumulators(ip, fp, vm);
        note_exit(&s);
        let o = s.operands::<ThrowOps>();
        let module = InterpModule::of(vm).ok_or(TrapCode::Internal)?;
        let layout = module.exception(o.tag).ok_or(TrapCode::Internal)?;
        let identity = VmCtx::pointer::<()>(vm, module.tag_offset(o.tag));
        let exn = gc::exn_new(vm, identity, layout.size, o.live)?;
        init_fields(&s, exn, layout, o.base, o.refs)?;
        (*(*vm).store).pending_exn = exn;
    }
    Ok(())
}

struct ThrowRef;
impl Op for ThrowRef {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the instruction was emitted with `Slots`; the slot belongs to the window.
        unsafe {
            let exn = get(&s, s.operands::<Slots>().a);
            if exn.is_null() {
                return Next::Trap(s, TrapCode::NullExceptionReference);
            }
            (*(*s.vm).store).pending_exn = exn;
        }
        Next::Trap(s, TrapCode::UncaughtException)
    }
}
/// Throws the exception in reference `a` again.
pub(crate) static THROW_REF: Handler = handler::<ThrowRef>();
