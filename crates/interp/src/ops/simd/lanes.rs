//! Single lanes, shuffles, constants, and moves of vectors between slots and globals.

use std::marker::PhantomData;

use palisade_core::simd::{self, V128};
use palisade_vm::layout::{VmCtx, VmGlobalDef};

use crate::ops::arith::{D, Dest, DestPair, R, Slots, put};
use crate::ops::control::{GlobalOps, SelectOps};
use crate::ops::memory::{Load, load};
#[cfg(target_arch = "x86_64")]
use crate::ops::simd::x86;
use crate::state::{Handler, Next, Op, State, VecHandler, handler, vec_handler};

/// Operands of a constant.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct VecConstOps {
    pub(crate) handler: u64,
    pub(crate) d: u16,
    pub(crate) pad: [u16; 3],
    pub(crate) value: V128,
}

/// Operands of a shuffle: the lanes' numbers behind the slots.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct ShuffleOps {
    pub(crate) slots: Slots,
    pub(crate) lanes: [u8; 16],
}

macro_rules! ops {
    ($( $(#[$doc:meta])* $name:ident, $constant:ident, $ops:ty, |$s:ident, $o:ident| $body:expr; )*) => {$(
        struct $name;
        impl Op for $name {
            #[inline(always)]
            unsafe fn exec($s: State) -> Next {
                // SAFETY: the instruction was emitted with these operands; its slots belong to the
                // frame, and a global's place to the context.
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

/// The two cells of a global.
#[inline(always)]
unsafe fn global(s: &State, offset: u32) -> *mut V128 {
    // SAFETY: the caller read the offset from an instruction on a global of the instance's module.
    unsafe { (*VmCtx::pointer::<VmGlobalDef>(s.vm, offset)).cells.get().cast() }
}

ops! {
    /// Copies the vector in slot `a` to slot `d`.
    Copy1, COPY, Slots, |s, o| s.set_vec(o.d, s.vec(o.a));
    /// A constant to slot `d`.
    Const, CONST, VecConstOps, |s, o| s.set_vec(o.d, o.value);
    /// A global to slot `d`.
    GlobalGet, GLOBAL_GET, GlobalOps, |s, o| s.set_vec(o.d, global(&s, o.global).read_unaligned());
    /// Slot `d` to a global.
    GlobalSet, GLOBAL_SET, GlobalOps, |s, o| global(&s, o.global).write_unaligned(s.vec(o.d));
}

/// Selects slot `a` if the condition is not zero, slot `b` otherwise.
struct Select<const ACC: bool>;
impl<const ACC: bool> Op for Select<ACC> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the slots belong to the frame.
        unsafe {
            let o = s.operands::<SelectOps>();
            let cond = if ACC { s.acc as u32 } else { s.cell(o.cond) as u32 };
            let chosen = if cond != 0 { o.a } else { o.b };
            s.set_vec(o.d, s.vec(chosen));
        }
        s.after::<SelectOps>()
    }
}
/// By whether the condition is in the accumulator.
pub(crate) static SELECT: [Handler; 2] = [handler::<Select<false>>(), handler::<Select<true>>()];

/// A shuffle of slots `a` and `b`.
struct Shuffle<const BETTER: bool>;
impl<const BETTER: bool> Op for Shuffle<BETTER> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the slots belong to the frame; the better form is used only where the processor
        // has what it needs.
        unsafe {
            let o = s.operands::<ShuffleOps>();
            let (a, b) = (s.vec(o.slots.a), s.vec(o.slots.b));
            #[cfg(target_arch = "x86_64")]
            let value = if BETTER {
                x86::i8x16_shuffle(a, b, V128(o.lanes))
            } else {
                simd::i8x16_shuffle(a, b, o.lanes)
            };
            #[cfg(not(target_arch = "x86_64"))]
            let value = simd::i8x16_shuffle(a, b, o.lanes);
            s.set_vec(o.slots.d, value);
        }
        s.after::<ShuffleOps>()
    }
}
pub(crate) static SHUFFLE: VecHandler = vec_handler::<Shuffle<false>, Shuffle<true>>();

/// A shuffle of slot `a` alone: a swizzle by a constant.
struct Permute<const BETTER: bool>;
impl<const BETTER: bool> Op for Permute<BETTER> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: as for `Shuffle`.
        unsafe {
            let o = s.operands::<ShuffleOps>();
            let a = s.vec(o.slots.a);
            #[cfg(target_arch = "x86_64")]
            let value = if BETTER {
                x86::i8x16_swizzle(a, V128(o.lanes))
            } else {
                simd::i8x16_swizzle(a, V128(o.lanes))
            };
            #[cfg(not(target_arch = "x86_64"))]
            let value = simd::i8x16_swizzle(a, V128(o.lanes));
            s.set_vec(o.slots.d, value);
        }
        s.after::<ShuffleOps>()
    }
}
pub(crate) static PERMUTE: VecHandler = vec_handler::<Permute<false>, Permute<true>>();

/// A scalar that lanes are made of. Floats are taken as the integers of their bits.
trait Lane: Copy {
    fn of(cell: u64) -> Self;
    fn splat(self) -> V128;
    fn replace(self, vector: V128, lane: u8) -> V128;
}

macro_rules! lane {
    ($ty:ty, $splat:ident, $replace:ident) => {
        impl Lane for $ty {
            #[inline(always)]
            fn of(cell: u64) -> Self {
                cell as $ty
            }
            #[inline(always)]
            fn splat(self) -> V128 {
                simd::$splat(self)
            }
            #[inline(always)]
            fn replace(self, vector: V128, lane: u8) -> V128 {
                simd::$replace(vector, lane, self)
            }
        }
    };
}
lane!(i8, i8x16_splat, i8x16_replace_lane);
lane!(i16, i16x8_splat, i16x8_replace_lane);
lane!(i32, i32x4_splat, i32x4_replace_lane);
lane!(i64, i64x2_splat, i64x2_replace_lane);

/// All lanes from slot `a` or from the accumulator.
struct Splat<L, const ACC: bool>(PhantomData<L>);
impl<L: Lane, const ACC: bool> Op for Splat<L, ACC> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the slots belong to the frame.
        unsafe {
            let o = s.operands::<Slots>();
            let cell = if ACC { s.acc } else { s.cell(o.a) };
            s.set_vec(o.d, L::of(cell).splat());
        }
        s.after::<Slots>()
    }
}

/// Slot `a` with one lane from slot `b` or from the accumulator.
struct Replace<L, const LANE: u8, const ACC: bool>(PhantomData<L>);
impl<L: Lane, const LANE: u8, const ACC: bool> Op for Replace<L, LANE, ACC> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the slots belong to the frame.
        unsafe {
            let o = s.operands::<Slots>();
            let cell = if ACC { s.acc } else { s.cell(o.b) };
            s.set_vec(o.d, L::of(cell).replace(s.vec(o.a), LANE));
        }
        s.after::<Slots>()
    }
}

macro_rules! splat {
    ($ty:ty) => {
        [
            vec_handler::<Splat<$ty, false>, Splat<$ty, false>>(),
            vec_handler::<Splat<$ty, true>, Splat<$ty, true>>(),
        ]
    };
}

/// By the logarithm of the lanes' size in bytes, and whether the value is in the accumulator.
pub(crate) static SPLAT: [[VecHandler; 2]; 4] = [splat!(i8), splat!(i16), splat!(i32), splat!(i64)];

macro_rules! replace {
    ($ty:ty: $($lane:literal)*) => {
        &[$([
            vec_handler::<Replace<$ty, $lane, false>, Replace<$ty, $lane, false>>(),
            vec_handler::<Replace<$ty, $lane, true>, Replace<$ty, $lane, true>>(),
        ],)*]
    };
}

/// By the logarithm of the lanes' size in bytes, by lane, and whether the value is in the accumulator.
pub(crate) static REPLACE: [&[[VecHandler; 2]]; 4] = [
    replace!(i8: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15),
    replace!(i16: 0 1 2 3 4 5 6 7),
    replace!(i32: 0 1 2 3),
    replace!(i64: 0 1),
];

/// One lane of slot `a`, which begins `b` bytes from its start.
struct Extract<L, T>(PhantomData<(L, T)>);
impl<L: Load, T: Dest> Op for Extract<L, T> {
    #[inline(always)]
    unsafe fn exec(mut s: State) -> Next {
        // SAFETY: the slot and the next one belong to the frame, and the lane lies inside.
        unsafe {
            let o = s.operands::<Slots>();
            let at = s.fp.add(o.a as usize).cast::<u8>().add(o.b as usize);
            let value = L::load(at);
            put::<L::Out, T>(&mut s, value);
        }
        s.after::<Slots>()
    }
}

macro_rules! extract {
    ($($constant:ident $load:ident)*) => {$(
        pub(crate) static $constant: DestPair =
            [handler::<Extract<load::$load, R>>(), handler::<Extract<load::$load, D>>()];
    )*};
}

extract! {
    EXTRACT_S8 S8
    EXTRACT_U8 U8
    EXTRACT_S16 S16
    EXTRACT_U16 U16
    EXTRACT_32 U32
    EXTRACT_64 U64
    EXTRACT_F32 F32
    EXTRACT_F64 F64
}
