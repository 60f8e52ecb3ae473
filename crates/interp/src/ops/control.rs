//! Control flow inside a function, moves between slots, globals, fuel, and the ends of an
//! activation.

use std::marker::PhantomData;
use std::sync::atomic::Ordering;

use palisade_core::TrapCode;
use palisade_vm::layout::{Cell, VmCtx, VmGlobalDef};

use crate::ops::arith::{D, Dest, DestPair, R, Slots, jump, put};
use crate::state::{Handler, Jump, Next, Op, State, cold_handler, handler};
use crate::val::Val;

/// Operands of an unconditional branch.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct BranchOps {
    pub(crate) handler: u64,
    pub(crate) offset: i32,
    pub(crate) a: u16,
    pub(crate) pad: u16,
}

/// An unconditional branch.
struct Br<const BACK: bool>;
impl<const BACK: bool> Op for Br<BACK> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the instruction was emitted with `BranchOps`; its offset leads into its code.
        unsafe {
            let o = s.operands::<BranchOps>();
            jump::<BACK>(s, o.offset)
        }
    }
}
/// Forward, backward.
pub(crate) static BR: [Handler; 2] = [handler::<Br<false>>(), handler::<Br<true>>()];

/// A branch on whether an `i32` is zero.
struct BrTest<const ACC: bool, const NONZERO: bool, const BACK: bool>;
impl<const ACC: bool, const NONZERO: bool, const BACK: bool> Op for BrTest<ACC, NONZERO, BACK> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the instruction was emitted with `BranchOps`, whose slot belongs to the frame and
        // whose offset leads into its code.
        unsafe {
            let o = s.operands::<BranchOps>();
            let value = if ACC { s.acc as u32 } else { s.cell(o.a) as u32 };
            if (value != 0) == NONZERO {
                return jump::<BACK>(s, o.offset);
            }
        }
        s.after::<BranchOps>()
    }
}

macro_rules! test_pair {
    ($acc:literal, $nonzero:literal) => {
        [handler::<BrTest<$acc, $nonzero, false>>(), handler::<BrTest<$acc, $nonzero, true>>()]
    };
}

/// By whether the value is in the accumulator, whether to branch on non-zero, and direction.
pub(crate) static BR_TEST: [[[Handler; 2]; 2]; 2] = [
    [test_pair!(false, false), test_pair!(false, true)],
    [test_pair!(true, false), test_pair!(true, true)],
];

/// Operands of a copy and a branch.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct CopyBranchOps {
    pub(crate) handler: u64,
    pub(crate) offset: i32,
    /// What is tested, after the copy.
    pub(crate) a: u16,
    pub(crate) to: u16,
    pub(crate) from: u16,
    pub(crate) pad: [u16; 3],
}

/// A copy between slots, and a branch on whether an `i32` in a slot is zero.
struct CopyBrTest<const NONZERO: bool, const BACK: bool>;
impl<const NONZERO: bool, const BACK: bool> Op for CopyBrTest<NONZERO, BACK> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the instruction was emitted with `CopyBranchOps`, whose slots belong to the frame and
        // whose offset leads into its code.
        unsafe {
            let o = s.operands::<CopyBranchOps>();
            s.set_cell(o.to, s.cell(o.from));
            if (s.cell(o.a) as u32 != 0) == NONZERO {
                return jump::<BACK>(s, o.offset);
            }
        }
        s.after::<CopyBranchOps>()
    }
}

/// By whether to branch on non-zero, and direction.
pub(crate) static COPY_BR_TEST: [[Handler; 2]; 2] = [
    [handler::<CopyBrTest<false, false>>(), handler::<CopyBrTest<false, true>>()],
    [handler::<CopyBrTest<true, false>>(), handler::<CopyBrTest<true, true>>()],
];

/// Operands of a branch table; `count` 32-bit offsets follow, the last of them for every index
/// that is too high.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct TableOps {
    pub(crate) handler: u64,
    pub(crate) count: u32,
    pub(crate) a: u16,
    pub(crate) pad: u16,
}

struct BrTable<const ACC: bool>;
impl<const ACC: bool> Op for BrTable<ACC> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the slot belongs to the frame; the index is clamped to the table, which stands
        // behind the operands; each of its offsets leads into the code.
        unsafe {
            let o = s.operands::<TableOps>();
            let index = if ACC { s.acc as u32 } else { s.cell(o.a) as u32 };
            let index = index.min(o.count.wrapping_sub(1));
            let offset = s.ip.add(size_of::<TableOps>()).cast::<i32>().add(index as usize).read();
            jump::<true>(s, offset)
        }
    }
}
/// Index in a slot, in the accumulator.
pub(crate) static BR_TABLE: [Handler; 2] =
    [handler::<BrTable<false>>(), handler::<BrTable<true>>()];

/// The end of an activation that another thread asked for, whose reason is the trap; or nothing but a look at where the
/// guest is, and then it goes on where the branch leads, which is in place of the memory's address.
struct Interrupted;
impl Op for Interrupted {
    #[inline(always)]
    unsafe fn exec(mut s: State) -> Next {
        // SAFETY: the interrupts live as long as the store.
        let reason = unsafe { (*(*s.vm).interrupts).reason.load(Ordering::Relaxed) };
        if reason == 0 {
            // SAFETY: the branch has put its target there; nothing else of the state was touched.
            unsafe {
                sampled(s.ip, s.fp, s.vm);
                s.ip = s.mem.cast_const();
                s.reload_memory();
            }
            return Next::Go(s);
        }
        let code = u8::try_from(reason).ok().and_then(TrapCode::from_u8);
        Next::Trap(s, code.unwrap_or(TrapCode::Interrupted))
    }
}
/// Lets whoever asked for it see where the guest is: at this instruction.
///
/// In a frame of its own, so that handlers let no address escape.
#[cold]
#[inline(never)]
pub(crate) unsafe fn sampled(ip: *const u8, fp: *mut Cell, vm: *mut VmCtx) {
    // SAFETY: the context is that of the running activation, and nothing refers into its store.
    unsafe {
        let ctx = (*vm).store;
        (*ctx).exit_ip = ip;
        (*ctx).exit_fp = fp;
        (*ctx).exit_vmctx = vm;
        palisade_vm::sample::sample(ctx);
    }
}

/// Ends the activation with the reason of the interruption.
pub(crate) const INTERRUPTED: Jump = cold_handler::<Interrupted>();

/// Operands of an instruction that always traps.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct TrapOps {
    pub(crate) handler: u64,
    pub(crate) code: u64,
}

struct Trap;
impl Op for Trap {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the instruction was emitted with `TrapOps`.
        let code = unsafe { s.operands::<TrapOps>().code };
        Next::Trap(s, TrapCode::from_u8(code as u8).unwrap_or(TrapCode::Internal))
    }
}
pub(crate) static TRAP: Handler = handler::<Trap>();

/// The end of an activation that the host began.
struct Halt;
impl Op for Halt {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        Next::Halt(s)
    }
}
pub(crate) static HALT: Handler = handler::<Halt>();

/// Operands of an instruction with a 64-bit number.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct NumberOps {
    pub(crate) handler: u64,
    pub(crate) number: u64,
}

/// Pays for a basic block before it runs.
struct Fuel;
impl Op for Fuel {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the instruction was emitted with `NumberOps`; the store's context is this
        // thread's alone.
        unsafe {
            let cost = s.operands::<NumberOps>().number as i64;
            let store = (*s.vm).store;
            let left = (*store).fuel.wrapping_sub(cost);
            (*store).fuel = left;
            if left < 0 {
                return Next::Trap(s, TrapCode::OutOfFuel);
            }
        }
        s.after::<NumberOps>()
    }
}
pub(crate) static FUEL: Handler = handler::<Fuel>();

/// Operands of a constant that goes to a slot.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct ConstOps {
    pub(crate) handler: u64,
    pub(crate) value: u64,
    pub(crate) d: u16,
    pub(crate) pad: [u16; 3],
}

struct Const;
impl Op for Const {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the slot belongs to the frame.
        unsafe {
            let o = s.operands::<ConstOps>();
            s.set_cell(o.d, o.value);
        }
        s.after::<ConstOps>()
    }
}
pub(crate) static CONST: Handler = handler::<Const>();

/// A constant of at most 32 significant bits: `d`, and the value in the place of `b` and `c`.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct SmallConstOps {
    pub(crate) handler: u64,
    pub(crate) d: u16,
    pub(crate) pad: u16,
    pub(crate) value: u32,
}

struct SmallConst;
impl Op for SmallConst {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the slot belongs to the frame.
        unsafe {
            let o = s.operands::<SmallConstOps>();
            s.set_cell(o.d, u64::from(o.value));
        }
        s.after::<SmallConstOps>()
    }
}
pub(crate) static SMALL_CONST: Handler = handler::<SmallConst>();

/// Copies slot `a` to slot `d`.
struct Copy1;
impl Op for Copy1 {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the slots belong to the frame.
        unsafe {
            let o = s.operands::<Slots>();
            s.set_cell(o.d, s.cell(o.a));
        }
        s.after::<Slots>()
    }
}
pub(crate) static COPY: Handler = handler::<Copy1>();

/// Copies slot `a` to slot `d` and to the accumulator.
struct CopyToAcc;
impl Op for CopyToAcc {
    #[inline(always)]
    unsafe fn exec(mut s: State) -> Next {
        // SAFETY: the slots belong to the frame.
        unsafe {
            let o = s.operands::<Slots>();
            s.acc = s.cell(o.a);
            s.set_cell(o.d, s.acc);
        }
        s.after::<Slots>()
    }
}
pub(crate) static COPY_TO_ACC: Handler = handler::<CopyToAcc>();

/// Copies slot `a` to slot `d`, then slot `c` to slot `b`.
struct Copy2;
impl Op for Copy2 {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the slots belong to the frame.
        unsafe {
            let o = s.operands::<Slots>();
            s.set_cell(o.d, s.cell(o.a));
            s.set_cell(o.b, s.cell(o.c));
        }
        s.after::<Slots>()
    }
}
pub(crate) static COPY2: Handler = handler::<Copy2>();

/// Copies the accumulator of a type to slot `d`.
struct CopyAcc<V>(PhantomData<V>);
impl<V: Val> Op for CopyAcc<V> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the slot belongs to the frame.
        unsafe {
            let o = s.operands::<Slots>();
            s.set_cell(o.d, V::get(&s).to_cell());
        }
        s.after::<Slots>()
    }
}
/// By accumulator.
pub(crate) static COPY_ACC: [Handler; 3] =
    [handler::<CopyAcc<u64>>(), handler::<CopyAcc<f32>>(), handler::<CopyAcc<f64>>()];

/// Copies `b` cells from slot `a` on to slot `d` on; the two may overlap.
struct CopySpan;
impl Op for CopySpan {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: both spans belong to the frame.
        unsafe {
            let o = s.operands::<Slots>();
            let from = s.fp.add(o.a as usize);
            std::ptr::copy(from, s.fp.add(o.d as usize), o.b as usize);
        }
        s.after::<Slots>()
    }
}
pub(crate) static COPY_SPAN: Handler = handler::<CopySpan>();

/// Zeroes `b` cells from slot `d` on.
struct Zero;
impl Op for Zero {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the span belongs to the frame.
        unsafe {
            let o = s.operands::<Slots>();
            let mut at = s.fp.add(o.d as usize);
            let end = at.add(o.b as usize);
            while at < end {
                at.write(0);
                at = at.add(1);
            }
        }
        s.after::<Slots>()
    }
}
pub(crate) static ZERO: Handler = handler::<Zero>();

/// Zeroes `N` cells from slot `d` on.
struct ZeroFixed<const N: usize>;
impl<const N: usize> Op for ZeroFixed<N> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the span belongs to the frame.
        unsafe {
            let o = s.operands::<Slots>();
            s.fp.add(o.d as usize).cast::<[Cell; N]>().write([0; N]);
        }
        s.after::<Slots>()
    }
}
/// For 1, 2, 3, … cells.
pub(crate) static ZERO_FIXED: [Handler; 8] = [
    handler::<ZeroFixed<1>>(),
    handler::<ZeroFixed<2>>(),
    handler::<ZeroFixed<3>>(),
    handler::<ZeroFixed<4>>(),
    handler::<ZeroFixed<5>>(),
    handler::<ZeroFixed<6>>(),
    handler::<ZeroFixed<7>>(),
    handler::<ZeroFixed<8>>(),
];

/// Operands of a selection between slots or immediates.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct SelectOps {
    pub(crate) handler: u64,
    pub(crate) d: u16,
    pub(crate) cond: u16,
    pub(crate) a: u16,
    pub(crate) b: u16,
}

/// Selects slot `a` if the condition is not zero, slot `b` otherwise.
struct Select<T, const ACC: bool>(PhantomData<T>);
impl<T: Dest, const ACC: bool> Op for Select<T, ACC> {
    #[inline(always)]
    unsafe fn exec(mut s: State) -> Next {
        // SAFETY: the slots belong to the frame.
        unsafe {
            let o = s.operands::<SelectOps>();
            let cond = if ACC { s.acc as u32 } else { s.cell(o.cond) as u32 };
            let (a, b) = (s.cell(o.a), s.cell(o.b));
            put::<u64, T>(&mut s, if cond != 0 { a } else { b });
        }
        s.after::<SelectOps>()
    }
}
/// By whether the condition is in the accumulator.
pub(crate) static SELECT: [DestPair; 2] = [
    [handler::<Select<R, false>>(), handler::<Select<D, false>>()],
    [handler::<Select<R, true>>(), handler::<Select<D, true>>()],
];

/// Operands of an access to a global, or to something else that the context points to.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct GlobalOps {
    pub(crate) handler: u64,
    pub(crate) d: u16,
    pub(crate) pad: u16,
    /// Where the context holds the pointer.
    pub(crate) global: u32,
}

unsafe fn global(s: &State, offset: u32) -> *mut Cell {
    // SAFETY: the caller read the offset from an instruction on a global of the instance's module.
    unsafe { (*VmCtx::pointer::<VmGlobalDef>(s.vm, offset)).cells.get().cast() }
}

struct GlobalGet<V, T>(PhantomData<(V, T)>);
impl<V: Val, T: Dest> Op for GlobalGet<V, T> {
    #[inline(always)]
    unsafe fn exec(mut s: State) -> Next {
        // SAFETY: the context holds a live global there.
        unsafe {
            let o = s.operands::<GlobalOps>();
            let value = V::from_cell(global(&s, o.global).read());
            put::<V, T>(&mut s, value);
        }
        s.after::<GlobalOps>()
    }
}
macro_rules! global_get {
    ($ty:ty) => {
        [handler::<GlobalGet<$ty, R>>(), handler::<GlobalGet<$ty, D>>()]
    };
}
/// By accumulator.
pub(crate) static GLOBAL_GET: [DestPair; 3] =
    [global_get!(u64), global_get!(f32), global_get!(f64)];

struct GlobalSet<const ACC: usize>;
impl<const ACC: usize> Op for GlobalSet<ACC> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the context holds a live global there; the slot belongs to the frame.
        unsafe {
            let o = s.operands::<GlobalOps>();
            let value = match ACC {
                0 => s.acc,
                1 => s.f32a.to_cell(),
                2 => s.f64a.to_cell(),
                _ => s.cell(o.d),
            };
            global(&s, o.global).write(value);
        }
        s.after::<GlobalOps>()
    }
}
/// From the accumulators, from a slot.
pub(crate) static GLOBAL_SET: [Handler; 4] = [
    handler::<GlobalSet<0>>(),
    handler::<GlobalSet<1>>(),
    handler::<GlobalSet<2>>(),
    handler::<GlobalSet<3>>(),
];
