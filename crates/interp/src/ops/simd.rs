//! Operators on vectors whose operands and result are in slots of the frame.
//!
//! Each operator is named once, in the tables below: what it means is the function of
//! `palisade_core::simd` that the table gives. Where the compiler makes too little of that function, the
//! table names a second one ([`x86`]) for processors with more vector instructions than every processor
//! has; the tests hold both to the same results.
//!
//! A vector takes two cells, the low half first. It is read and written as a whole, and no
//! accumulator holds any: the processor's store buffer passes it on from one operation to the next.
//! Single lanes that an operator gives, and truth values, go to the scalar accumulators.

use std::marker::PhantomData;

use palisade_core::simd::{self, V128, relaxed};
use palisade_module::wasmparser::Operator;

use crate::ops::arith::{D, Dest, R, Slots, put};
use crate::state::{Next, Op, State, VecHandler, vec_handler};

pub(crate) mod lanes;
pub(crate) mod memory;
#[cfg(target_arch = "x86_64")]
mod x86;

/// The function that the better form of an operator uses, if it is not the common one.
#[cfg(target_arch = "x86_64")]
macro_rules! better {
    ($common:path) => {
        $common
    };
    ($common:path, $better:ident) => {
        x86::$better
    };
}
#[cfg(not(target_arch = "x86_64"))]
macro_rules! better {
    ($common:path $(, $better:ident)?) => {
        $common
    };
}

/// An operator on vectors in slots. `A` is how many operands there are.
trait Lanes<A> {
    type Out;
    fn common(operands: A) -> Self::Out;
    /// # Safety
    ///
    /// The processor has the features of `state::tail_wide`.
    unsafe fn better(operands: A) -> Self::Out;
}

/// The operands of an operator.
trait Operands: Sized {
    unsafe fn fetch(s: &State, o: Slots) -> Self;
}
impl Operands for (V128,) {
    #[inline(always)]
    unsafe fn fetch(s: &State, o: Slots) -> Self {
        // SAFETY: the slots belong to the frame.
        unsafe { (s.vec(o.a),) }
    }
}
impl Operands for (V128, V128) {
    #[inline(always)]
    unsafe fn fetch(s: &State, o: Slots) -> Self {
        // SAFETY: the slots belong to the frame.
        unsafe { (s.vec(o.a), s.vec(o.b)) }
    }
}
impl Operands for (V128, V128, V128) {
    #[inline(always)]
    unsafe fn fetch(s: &State, o: Slots) -> Self {
        // SAFETY: the slots belong to the frame.
        unsafe { (s.vec(o.a), s.vec(o.b), s.vec(o.c)) }
    }
}

/// An operator that gives a vector.
struct ToVec<K, A, const BETTER: bool>(PhantomData<(K, A)>);

impl<A: Operands, K: Lanes<A, Out = V128>, const BETTER: bool> Op for ToVec<K, A, BETTER> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the instruction was emitted with `Slots`, which belong to the frame; the better form is
        // used only where the processor has what it needs.
        unsafe {
            let o = s.operands::<Slots>();
            let operands = A::fetch(&s, o);
            let value = if BETTER { K::better(operands) } else { K::common(operands) };
            s.set_vec(o.d, value);
        }
        s.after::<Slots>()
    }
}

/// An operator on one vector that gives a truth value or a mask.
struct ToInt<K, T, const BETTER: bool>(PhantomData<(K, T)>);

impl<K: Lanes<(V128,)>, T: Dest, const BETTER: bool> Op for ToInt<K, T, BETTER>
where
    K::Out: Into<u64>,
{
    #[inline(always)]
    unsafe fn exec(mut s: State) -> Next {
        // SAFETY: as for `ToVec`.
        unsafe {
            let a = (s.vec(s.operands::<Slots>().a),);
            let value = if BETTER { K::better(a) } else { K::common(a) };
            put::<u64, T>(&mut s, value.into());
        }
        s.after::<Slots>()
    }
}

macro_rules! operators {
    ($list:ident, $operands:ty, $args:tt, $out:ty;
        $( $name:ident $common:path $(, $better:ident)?; )*) => {
        mod $list {
            use super::*;
            $(
                pub(super) struct $name;
                impl Lanes<$operands> for $name {
                    type Out = $out;
                    #[inline(always)]
                    fn common($args: $operands) -> $out {
                        $common $args
                    }
                    // Where there is no better one, this is the common one, which is safe.
                    #[allow(unused_unsafe)]
                    #[inline(always)]
                    unsafe fn better($args: $operands) -> $out {
                        // SAFETY: the caller says that the processor has the features.
                        unsafe { better!($common $(, $better)?) $args }
                    }
                }
            )*
        }
    };
}

macro_rules! to_vec {
    ($( $list:ident $operands:ty, $args:tt { $( $name:ident $common:path $(, $better:ident)?; )* } )*) => {
        $(
            operators! { $list, $operands, $args, V128; $( $name $common $(, $better)?; )* }
            /// The handler of an operator with as many operands, if it is one.
            pub(crate) fn $list(op: &Operator<'_>) -> Option<VecHandler> {
                Some(match op {
                    $(Operator::$name => const {
                        vec_handler::<
                            ToVec<$list::$name, $operands, false>,
                            ToVec<$list::$name, $operands, true>,
                        >()
                    },)*
                    _ => return None,
                })
            }
        )*
    };
}

macro_rules! to_int {
    ($out:ty, $list:ident { $( $name:ident $common:path $(, $better:ident)?; )* }) => {
        operators! { $list, (V128,), (a,), $out; $( $name $common $(, $better)?; )* }
        /// The handlers of an operator that gives an integer for a vector, if it is one.
        pub(crate) fn $list(op: &Operator<'_>) -> Option<[VecHandler; 2]> {
            Some(match op {
                $(Operator::$name => const {
                    [
                        vec_handler::<ToInt<$list::$name, R, false>, ToInt<$list::$name, R, true>>(),
                        vec_handler::<ToInt<$list::$name, D, false>, ToInt<$list::$name, D, true>>(),
                    ]
                },)*
                _ => return None,
            })
        }
    };
}

to_int! { bool, tests {
    V128AnyTrue simd::v128_any_true, v128_any_true;
    I8x16AllTrue simd::i8x16_all_true, i8x16_all_true;
    I16x8AllTrue simd::i16x8_all_true, i16x8_all_true;
    I32x4AllTrue simd::i32x4_all_true, i32x4_all_true;
    I64x2AllTrue simd::i64x2_all_true;
} }

to_int! { u32, bitmasks {
    I8x16Bitmask simd::i8x16_bitmask, i8x16_bitmask;
    I16x8Bitmask simd::i16x8_bitmask, i16x8_bitmask;
    I32x4Bitmask simd::i32x4_bitmask, i32x4_bitmask;
    I64x2Bitmask simd::i64x2_bitmask, i64x2_bitmask;
} }

to_vec! {
    unary (V128,), (a,) {
        V128Not simd::v128_not;
        I8x16Neg simd::i8x16_neg;
        I8x16Abs simd::i8x16_abs;
        I8x16Popcnt simd::i8x16_popcnt;
        I16x8Neg simd::i16x8_neg;
        I16x8Abs simd::i16x8_abs;
        I32x4Neg simd::i32x4_neg;
        I32x4Abs simd::i32x4_abs;
        I64x2Neg simd::i64x2_neg;
        I64x2Abs simd::i64x2_abs;
        I16x8ExtendLowI8x16S simd::i16x8_extend_low_i8x16_s;
        I16x8ExtendHighI8x16S simd::i16x8_extend_high_i8x16_s;
        I16x8ExtendLowI8x16U simd::i16x8_extend_low_i8x16_u;
        I16x8ExtendHighI8x16U simd::i16x8_extend_high_i8x16_u;
        I32x4ExtendLowI16x8S simd::i32x4_extend_low_i16x8_s;
        I32x4ExtendHighI16x8S simd::i32x4_extend_high_i16x8_s;
        I32x4ExtendLowI16x8U simd::i32x4_extend_low_i16x8_u;
        I32x4ExtendHighI16x8U simd::i32x4_extend_high_i16x8_u;
        I64x2ExtendLowI32x4S simd::i64x2_extend_low_i32x4_s;
        I64x2ExtendHighI32x4S simd::i64x2_extend_high_i32x4_s;
        I64x2ExtendLowI32x4U simd::i64x2_extend_low_i32x4_u;
        I64x2ExtendHighI32x4U simd::i64x2_extend_high_i32x4_u;
        I16x8ExtAddPairwiseI8x16S simd::i16x8_extadd_pairwise_i8x16_s;
        I16x8ExtAddPairwiseI8x16U simd::i16x8_extadd_pairwise_i8x16_u;
        I32x4ExtAddPairwiseI16x8S simd::i32x4_extadd_pairwise_i16x8_s;
        I32x4ExtAddPairwiseI16x8U simd::i32x4_extadd_pairwise_i16x8_u;
        F32x4Abs simd::f32x4_abs;
        F32x4Neg simd::f32x4_neg;
        F32x4Ceil simd::f32x4_ceil, f32x4_ceil;
        F32x4Floor simd::f32x4_floor, f32x4_floor;
        F32x4Trunc simd::f32x4_trunc, f32x4_trunc;
        F32x4Nearest simd::f32x4_nearest, f32x4_nearest;
        F32x4Sqrt simd::f32x4_sqrt;
        F64x2Abs simd::f64x2_abs;
        F64x2Neg simd::f64x2_neg;
        F64x2Ceil simd::f64x2_ceil, f64x2_ceil;
        F64x2Floor simd::f64x2_floor, f64x2_floor;
        F64x2Trunc simd::f64x2_trunc, f64x2_trunc;
        F64x2Nearest simd::f64x2_nearest, f64x2_nearest;
        F64x2Sqrt simd::f64x2_sqrt;
        F32x4ConvertI32x4S simd::f32x4_convert_i32x4_s;
        F32x4ConvertI32x4U simd::f32x4_convert_i32x4_u;
        I32x4TruncSatF32x4S simd::i32x4_trunc_sat_f32x4_s, i32x4_trunc_sat_f32x4_s;
        I32x4TruncSatF32x4U simd::i32x4_trunc_sat_f32x4_u, i32x4_trunc_sat_f32x4_u;
        I32x4TruncSatF64x2SZero simd::i32x4_trunc_sat_f64x2_s_zero;
        I32x4TruncSatF64x2UZero simd::i32x4_trunc_sat_f64x2_u_zero;
        F64x2ConvertLowI32x4S simd::f64x2_convert_low_i32x4_s;
        F64x2ConvertLowI32x4U simd::f64x2_convert_low_i32x4_u;
        F32x4DemoteF64x2Zero simd::f32x4_demote_f64x2_zero;
        F64x2PromoteLowF32x4 simd::f64x2_promote_low_f32x4;
        I32x4RelaxedTruncF32x4S relaxed::i32x4_relaxed_trunc_f32x4_s, i32x4_trunc_sat_f32x4_s;
        I32x4RelaxedTruncF32x4U relaxed::i32x4_relaxed_trunc_f32x4_u, i32x4_trunc_sat_f32x4_u;
        I32x4RelaxedTruncF64x2SZero relaxed::i32x4_relaxed_trunc_f64x2_s_zero;
        I32x4RelaxedTruncF64x2UZero relaxed::i32x4_relaxed_trunc_f64x2_u_zero;
    }
    binary (V128, V128), (a, b) {
        V128And simd::v128_and;
        V128AndNot simd::v128_andnot;
        V128Or simd::v128_or;
        V128Xor simd::v128_xor;
        I8x16Swizzle simd::i8x16_swizzle, i8x16_swizzle;
        I8x16Add simd::i8x16_add;
        I8x16Sub simd::i8x16_sub;
        I8x16AddSatS simd::i8x16_add_sat_s;
        I8x16AddSatU simd::i8x16_add_sat_u;
        I8x16SubSatS simd::i8x16_sub_sat_s;
        I8x16SubSatU simd::i8x16_sub_sat_u;
        I8x16MinS simd::i8x16_min_s;
        I8x16MinU simd::i8x16_min_u;
        I8x16MaxS simd::i8x16_max_s;
        I8x16MaxU simd::i8x16_max_u;
        I8x16AvgrU simd::i8x16_avgr_u;
        I8x16Eq simd::i8x16_eq;
        I8x16Ne simd::i8x16_ne;
        I8x16LtS simd::i8x16_lt_s;
        I8x16LtU simd::i8x16_lt_u;
        I8x16GtS simd::i8x16_gt_s;
        I8x16GtU simd::i8x16_gt_u;
        I8x16LeS simd::i8x16_le_s;
        I8x16LeU simd::i8x16_le_u;
        I8x16GeS simd::i8x16_ge_s;
        I8x16GeU simd::i8x16_ge_u;
        I16x8Add simd::i16x8_add;
        I16x8Sub simd::i16x8_sub;
        I16x8AddSatS simd::i16x8_add_sat_s;
        I16x8AddSatU simd::i16x8_add_sat_u;
        I16x8SubSatS simd::i16x8_sub_sat_s;
        I16x8SubSatU simd::i16x8_sub_sat_u;
        I16x8Mul simd::i16x8_mul;
        I16x8MinS simd::i16x8_min_s;
        I16x8MinU simd::i16x8_min_u;
        I16x8MaxS simd::i16x8_max_s;
        I16x8MaxU simd::i16x8_max_u;
        I16x8AvgrU simd::i16x8_avgr_u;
        I16x8Eq simd::i16x8_eq;
        I16x8Ne simd::i16x8_ne;
        I16x8LtS simd::i16x8_lt_s;
        I16x8LtU simd::i16x8_lt_u;
        I16x8GtS simd::i16x8_gt_s;
        I16x8GtU simd::i16x8_gt_u;
        I16x8LeS simd::i16x8_le_s;
        I16x8LeU simd::i16x8_le_u;
        I16x8GeS simd::i16x8_ge_s;
        I16x8GeU simd::i16x8_ge_u;
        I32x4Add simd::i32x4_add;
        I32x4Sub simd::i32x4_sub;
        I32x4Mul simd::i32x4_mul;
        I32x4MinS simd::i32x4_min_s;
        I32x4MinU simd::i32x4_min_u;
        I32x4MaxS simd::i32x4_max_s;
        I32x4MaxU simd::i32x4_max_u;
        I32x4Eq simd::i32x4_eq;
        I32x4Ne simd::i32x4_ne;
        I32x4LtS simd::i32x4_lt_s;
        I32x4LtU simd::i32x4_lt_u;
        I32x4GtS simd::i32x4_gt_s;
        I32x4GtU simd::i32x4_gt_u;
        I32x4LeS simd::i32x4_le_s;
        I32x4LeU simd::i32x4_le_u;
        I32x4GeS simd::i32x4_ge_s;
        I32x4GeU simd::i32x4_ge_u;
        I64x2Add simd::i64x2_add;
        I64x2Sub simd::i64x2_sub;
        I64x2Mul simd::i64x2_mul;
        I64x2Eq simd::i64x2_eq;
        I64x2Ne simd::i64x2_ne;
        I64x2LtS simd::i64x2_lt_s;
        I64x2GtS simd::i64x2_gt_s;
        I64x2LeS simd::i64x2_le_s;
        I64x2GeS simd::i64x2_ge_s;
        I16x8Q15MulrSatS simd::i16x8_q15mulr_sat_s;
        I16x8ExtMulLowI8x16S simd::i16x8_extmul_low_i8x16_s;
        I16x8ExtMulHighI8x16S simd::i16x8_extmul_high_i8x16_s;
        I16x8ExtMulLowI8x16U simd::i16x8_extmul_low_i8x16_u;
        I16x8ExtMulHighI8x16U simd::i16x8_extmul_high_i8x16_u;
        I32x4ExtMulLowI16x8S simd::i32x4_extmul_low_i16x8_s;
        I32x4ExtMulHighI16x8S simd::i32x4_extmul_high_i16x8_s;
        I32x4ExtMulLowI16x8U simd::i32x4_extmul_low_i16x8_u;
        I32x4ExtMulHighI16x8U simd::i32x4_extmul_high_i16x8_u;
        I64x2ExtMulLowI32x4S simd::i64x2_extmul_low_i32x4_s;
        I64x2ExtMulHighI32x4S simd::i64x2_extmul_high_i32x4_s;
        I64x2ExtMulLowI32x4U simd::i64x2_extmul_low_i32x4_u;
        I64x2ExtMulHighI32x4U simd::i64x2_extmul_high_i32x4_u;
        I8x16NarrowI16x8S simd::i8x16_narrow_i16x8_s;
        I8x16NarrowI16x8U simd::i8x16_narrow_i16x8_u;
        I16x8NarrowI32x4S simd::i16x8_narrow_i32x4_s;
        I16x8NarrowI32x4U simd::i16x8_narrow_i32x4_u;
        I32x4DotI16x8S simd::i32x4_dot_i16x8_s;
        F32x4Add simd::f32x4_add;
        F32x4Sub simd::f32x4_sub;
        F32x4Mul simd::f32x4_mul;
        F32x4Div simd::f32x4_div;
        F32x4Min simd::f32x4_min;
        F32x4Max simd::f32x4_max;
        F32x4PMin simd::f32x4_pmin;
        F32x4PMax simd::f32x4_pmax;
        F32x4Eq simd::f32x4_eq;
        F32x4Ne simd::f32x4_ne;
        F32x4Lt simd::f32x4_lt;
        F32x4Gt simd::f32x4_gt;
        F32x4Le simd::f32x4_le;
        F32x4Ge simd::f32x4_ge;
        F64x2Add simd::f64x2_add;
        F64x2Sub simd::f64x2_sub;
        F64x2Mul simd::f64x2_mul;
        F64x2Div simd::f64x2_div;
        F64x2Min simd::f64x2_min;
        F64x2Max simd::f64x2_max;
        F64x2PMin simd::f64x2_pmin;
        F64x2PMax simd::f64x2_pmax;
        F64x2Eq simd::f64x2_eq;
        F64x2Ne simd::f64x2_ne;
        F64x2Lt simd::f64x2_lt;
        F64x2Gt simd::f64x2_gt;
        F64x2Le simd::f64x2_le;
        F64x2Ge simd::f64x2_ge;
        I8x16RelaxedSwizzle relaxed::i8x16_relaxed_swizzle, i8x16_swizzle;
        F32x4RelaxedMin relaxed::f32x4_relaxed_min;
        F32x4RelaxedMax relaxed::f32x4_relaxed_max;
        F64x2RelaxedMin relaxed::f64x2_relaxed_min;
        F64x2RelaxedMax relaxed::f64x2_relaxed_max;
        I16x8RelaxedQ15mulrS relaxed::i16x8_relaxed_q15mulr_s;
        I16x8RelaxedDotI8x16I7x16S relaxed::i16x8_relaxed_dot_i8x16_i7x16_s;
    }
    ternary (V128, V128, V128), (a, b, c) {
        V128Bitselect simd::v128_bitselect;
        I8x16RelaxedLaneselect relaxed::i8x16_relaxed_laneselect;
        I16x8RelaxedLaneselect relaxed::i16x8_relaxed_laneselect;
        I32x4RelaxedLaneselect relaxed::i32x4_relaxed_laneselect;
        I64x2RelaxedLaneselect relaxed::i64x2_relaxed_laneselect;
        F32x4RelaxedMadd relaxed::f32x4_relaxed_madd;
        F32x4RelaxedNmadd relaxed::f32x4_relaxed_nmadd;
        F64x2RelaxedMadd relaxed::f64x2_relaxed_madd;
        F64x2RelaxedNmadd relaxed::f64x2_relaxed_nmadd;
        I32x4RelaxedDotI8x16I7x16AddS relaxed::i32x4_relaxed_dot_i8x16_i7x16_add_s;
    }
}

/// Where the count of a shift comes from.
trait Count {
    unsafe fn count(s: &State, o: Slots) -> u32;
}
/// Slot `b`.
struct InSlot;
impl Count for InSlot {
    #[inline(always)]
    unsafe fn count(s: &State, o: Slots) -> u32 {
        // SAFETY: the slot belongs to the frame.
        unsafe { s.cell(o.b) as u32 }
    }
}
/// The accumulator.
struct InAcc;
impl Count for InAcc {
    #[inline(always)]
    unsafe fn count(s: &State, _o: Slots) -> u32 {
        s.acc as u32
    }
}
/// The operand `b` itself.
struct Fixed;
impl Count for Fixed {
    #[inline(always)]
    unsafe fn count(_s: &State, o: Slots) -> u32 {
        u32::from(o.b)
    }
}

/// A shift operator.
trait Shift {
    fn shift(a: V128, count: u32) -> V128;
}

/// A shift of slot `a`.
struct ShiftOp<K, C>(PhantomData<(K, C)>);

impl<K: Shift, C: Count> Op for ShiftOp<K, C> {
    #[inline(always)]
    unsafe fn exec(s: State) -> Next {
        // SAFETY: the instruction was emitted with `Slots`, which belong to the frame.
        unsafe {
            let o = s.operands::<Slots>();
            let count = C::count(&s, o);
            s.set_vec(o.d, K::shift(s.vec(o.a), count));
        }
        s.after::<Slots>()
    }
}

macro_rules! shifts {
    ($( $name:ident $common:path; )*) => {
        mod shifts {
            use super::*;
            $(
                pub(super) struct $name;
                impl Shift for $name {
                    #[inline(always)]
                    fn shift(a: V128, count: u32) -> V128 {
                        $common(a, count)
                    }
                }
            )*
        }
        /// The handlers of a shift, if the operator is one: by whether its count is in a slot, in the
        /// accumulator, or an immediate.
        pub(crate) fn shift(op: &Operator<'_>) -> Option<[VecHandler; 3]> {
            Some(match op {
                $(Operator::$name => const {
                    [
                        vec_handler::<ShiftOp<shifts::$name, InSlot>, ShiftOp<shifts::$name, InSlot>>(),
                        vec_handler::<ShiftOp<shifts::$name, InAcc>, ShiftOp<shifts::$name, InAcc>>(),
                        vec_handler::<ShiftOp<shifts::$name, Fixed>, ShiftOp<shifts::$name, Fixed>>(),
                    ]
                },)*
                _ => return None,
            })
        }
    };
}

shifts! {
    I8x16Shl simd::i8x16_shl;
    I8x16ShrS simd::i8x16_shr_s;
    I8x16ShrU simd::i8x16_shr_u;
    I16x8Shl simd::i16x8_shl;
    I16x8ShrS simd::i16x8_shr_s;
    I16x8ShrU simd::i16x8_shr_u;
    I32x4Shl simd::i32x4_shl;
    I32x4ShrS simd::i32x4_shr_s;
    I32x4ShrU simd::i32x4_shr_u;
    I64x2Shl simd::i64x2_shl;
    I64x2ShrS simd::i64x2_shr_s;
    I64x2ShrU simd::i64x2_shr_u;
}

operators! { canonical, (V128,), (a,), V128;
    F32x4Canonical simd::f32x4_canonical;
    F64x2Canonical simd::f64x2_canonical;
}

/// The handlers that put the canonical NaN in place of all others, for lanes of 32 and of 64 bits.
pub(crate) const CANONICAL: [VecHandler; 2] = [
    vec_handler::<
        ToVec<canonical::F32x4Canonical, (V128,), false>,
        ToVec<canonical::F32x4Canonical, (V128,), true>,
    >(),
    vec_handler::<
        ToVec<canonical::F64x2Canonical, (V128,), false>,
        ToVec<canonical::F64x2Canonical, (V128,), true>,
    >(),
];

/// The operation for a product and the sum that it is part of, if the operator is such a product.
pub(crate) fn product_sum(op: &Operator<'_>) -> Option<VecHandler> {
    match op {
        Operator::F32x4Mul => ternary(&Operator::F32x4RelaxedMadd),
        Operator::F64x2Mul => ternary(&Operator::F64x2RelaxedMadd),
        _ => None,
    }
}
