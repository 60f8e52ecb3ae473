//! References of the `any`, `extern` and `exn` families. They stand in the reference stack, in a
//! window that begins at `ref_fp` in the store's context; functions that hold none never touch it.
//!
//! A caller moves the window to its arguments before a call and back after it. Whatever stands below
//! `ref_high`, in a window or above all of them, is null or a valid reference at all times, and everything
//! from there on is null: what an instruction writes is valid then, and a collection updates what it takes for
//! live (up to the operand `live` of the instruction that allocates) and clears the rest. So a slot that
//! translation has no value in, and that was not cleared since, may keep an object alive for longer, but never
//! leads astray.

use palisade_core::TrapCode;
use palisade_vm::layout::{VmCtx, VmGlobalDef, VmRef};

use crate::ops::arith::Slots;
use crate::ops::control::{GlobalOps, SelectOps};
use crate::state::{Handler, Next, Op, State, handler};

#[inline(always)]
pub(super) unsafe fn window(s: &State) -> *mut VmRef {
    // SAFETY: the store's context outlives the instance's.
    unsafe { (*(*s.vm).store).ref_fp }
}

#[inline(always)]
pub(super) unsafe fn get(s: &State, slot: u16) -> VmRef {
    // SAFETY: the slot belongs to the window, which was checked when it was entered.
    unsafe { window(s).add(slot as usize).read() }
}

#[inline(always)]
pub(super) unsafe fn set(s: &State, slot: u16, value: VmRef) {
    // SAFETY: the slot belongs to the window, which was checked when it was entered.
    unsafe { window(s).add(slot as usize).write(value) }
}

macro_rules! ops {
    ($( $(#[$doc:meta])* $name:ident, $constant:ident, $ops:ty, |$s:ident, $o:ident| $body:expr; )*) => {$(
        struct $name;
        impl Op for $name {
            #[inline(always)]
            unsafe fn exec($s: State) -> Next {
                // SAFETY: the instruction was emitted with these operands; slots belong to the
                // frame and to the window.
                unsafe {
                    let $o = $s.operands::<$ops>();
                    $body
                }
                $s.after::<$ops>()
            }
        }
        $(#[$doc])*
        pub(crate) static $constant: Handler = handler::<$name>();
    )*};
}

ops! {
    /// Moves the window up by `a` references, to the arguments of a call.
    Push, PUSH, Slots, |s, o| {
        let store = (*s.vm).store;
        (*store).ref_fp = (*store).ref_fp.add(o.a as usize);
    };
    /// Moves the window down by `a` references, after a call.
    Pop, POP, Slots, |s, o| {
        let store = (*s.vm).store;
        (*store).ref_fp = (*store).ref_fp.sub(o.a as usize);
    };
    /// Copies reference `a` to `d`.
    Copy, COPY, Slots, |s, o| set(&s, o.d, get(&s, o.a));
    /// Sets reference `d` to null.
    Null, NULL, Slots, |s, o| set(&s, o.d, VmRef::NULL);
    /// Copies `b` references from `a` on to `d` on; the two may overlap.
    CopySpan, COPY_SPAN, Slots, |s, o| {
        let base = window(&s);
        std::ptr::copy(base.add(o.a as usize), base.add(o.d as usize), o.b as usize);
    };
    /// Reference `a` or `b` by the condition in cell `cond`, to `d`.
    Select, SELECT, SelectOps, |s, o| {
        let chosen = if s.cell(o.cond) as u32 != 0 { o.a } else { o.b };
        set(&s, o.d, get(&s, chosen));
    };
    /// A global to reference `d`.
    GlobalGet, GLOBAL_GET, GlobalOps, |s, o| {
        let def = VmCtx::pointer::<VmGlobalDef>(s.vm, o.global);
        set(&s, o.d, VmRef((*def).cells.get().cast::<u64>().read() as u32));
    };
    /// Reference `d` to a global.
    GlobalSet, GLOBAL_SET, GlobalOps, |s, o| {
        let def = VmCtx::pointer::<VmGlobalDef>(s.vm, o.global);
        (*def).cells.get().cast::<u64>().write(u64::from(get(&s, o.d).0));
    };
    /// Reference `a` to cell `d`, zero-extended: where a slow operation takes its operands.
    ToCell, TO_CELL, Slots, |s, o| s.set_cell(o.d, u64::from(get(&s, o.a).0));
    /// Cell `a` to reference `d`: where a slow operation leaves its result.
    FromCell, FROM_CELL, Slots, |s, o| set(&s, o.d, VmRef(s.cell(o.a) as u32));
}

/// Enters a function whose window has `a` references: parameters up to `d`, then locals up to `b`, which become
/// null, then operands.
struct Enter;
impl Op for Enter {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the window is checked against the reference stack before it is written.
        unsafe {
            let o = s.operands::<Slots>();
            let base = window(&s);
            let end = base.add(o.a as usize);
            let store = (*s.vm).store;
            if end > (*store).ref_limit {
                return Next::Trap(s, TrapCode::StackOverflow);
            }
            if end > (*store).ref_high {
                (*store).ref_high = end;
            }
            let (mut local, locals) = (base.add(o.d as usize), base.add(o.b as usize));
            while local < locals {
                local.write(VmRef::NULL);
                local = local.add(1);
            }
        }
        s.after::<Slots>()
    }
}
pub(crate) static ENTER: Handler = handler::<Enter>();

/// Traps if reference `a` is null.
struct NonNull;
impl Op for NonNull {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the instruction was emitted with `Slots`.
        unsafe {
            if get(&s, s.operands::<Slots>().a).is_null() {
                return Next::Trap(s, TrapCode::NullReference);
            }
        }
        s.after::<Slots>()
    }
}
pub(crate) static NON_NULL: Handler = handler::<NonNull>();

/// Traps if the function reference in cell `a` is null.
struct NonNullFunc;
impl Op for NonNullFunc {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the instruction was emitted with `Slots`.
        unsafe {
            if s.cell(s.operands::<Slots>().a) == 0 {
                return Next::Trap(s, TrapCode::NullReference);
            }
        }
        s.after::<Slots>()
    }
}
pub(crate) static NON_NULL_FUNC: Handler = handler::<NonNullFunc>();
