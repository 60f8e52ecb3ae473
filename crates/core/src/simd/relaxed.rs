//! The relaxed operators. The specification leaves each a choice of results; Palisade makes one
//! choice for all machines and engines, the one that its deterministic profile names:
//!
//! | operators | meaning here |
//! |---|---|
//! | `i8x16.relaxed_swizzle` | `i8x16.swizzle`: zero for every index from 16 on |
//! | `i32x4.relaxed_trunc_*` | `i32x4.trunc_sat_*`: NaN gives zero, what is too large or too small saturates |
//! | `relaxed_madd`, `relaxed_nmadd` | a product and a sum, each rounded: never fused |
//! | `relaxed_laneselect` | `v128.bitselect`: every bit of the mask counts |
//! | `relaxed_min`, `relaxed_max` | `min` and `max`: a NaN gives NaN, -0 is less than +0 |
//! | `i16x8.relaxed_q15mulr_s` | `i16x8.q15mulr_sat_s`: saturates |
//! | `relaxed_dot_i8x16_i7x16*` | both operands are signed in all eight bits; sums wrap |

use super::{V128, make};

macro_rules! same_as {
    ($( $name:ident $text:literal ($($arg:ident),*) $same:ident; )*) => {$(
        #[doc = concat!("`", $text, "`: as [`", stringify!($same), "`](super::", stringify!($same), ").")]
        #[inline(always)]
        pub fn $name($($arg: V128),*) -> V128 {
            super::$same($($arg),*)
        }
    )*};
}

same_as! {
    i8x16_relaxed_swizzle "i8x16.relaxed_swizzle" (a, indices) i8x16_swizzle;
    i32x4_relaxed_trunc_f32x4_s "i32x4.relaxed_trunc_f32x4_s" (a) i32x4_trunc_sat_f32x4_s;
    i32x4_relaxed_trunc_f32x4_u "i32x4.relaxed_trunc_f32x4_u" (a) i32x4_trunc_sat_f32x4_u;
    i32x4_relaxed_trunc_f64x2_s_zero "i32x4.relaxed_trunc_f64x2_s_zero" (a)
        i32x4_trunc_sat_f64x2_s_zero;
    i32x4_relaxed_trunc_f64x2_u_zero "i32x4.relaxed_trunc_f64x2_u_zero" (a)
        i32x4_trunc_sat_f64x2_u_zero;
    i8x16_relaxed_laneselect "i8x16.relaxed_laneselect" (a, b, mask) v128_bitselect;
    i16x8_relaxed_laneselect "i16x8.relaxed_laneselect" (a, b, mask) v128_bitselect;
    i32x4_relaxed_laneselect "i32x4.relaxed_laneselect" (a, b, mask) v128_bitselect;
    i64x2_relaxed_laneselect "i64x2.relaxed_laneselect" (a, b, mask) v128_bitselect;
    f32x4_relaxed_min "f32x4.relaxed_min" (a, b) f32x4_min;
    f32x4_relaxed_max "f32x4.relaxed_max" (a, b) f32x4_max;
    f64x2_relaxed_min "f64x2.relaxed_min" (a, b) f64x2_min;
    f64x2_relaxed_max "f64x2.relaxed_max" (a, b) f64x2_max;
    i16x8_relaxed_q15mulr_s "i16x8.relaxed_q15mulr_s" (a, b) i16x8_q15mulr_sat_s;
}

macro_rules! multiply_add {
    ($( $name:ident $text:literal $get:ident $from:ident |$a:ident, $b:ident, $c:ident| $e:expr; )*) => {$(
        #[doc = concat!("`", $text, "`: the product is rounded before the sum.")]
        #[inline(always)]
        pub fn $name(a: V128, b: V128, c: V128) -> V128 {
            let (a, b, c) = (a.$get(), b.$get(), c.$get());
            V128::$from(make(|i| {
                let ($a, $b, $c) = (a[i], b[i], c[i]);
                $e
            }))
        }
    )*};
}

multiply_add! {
    f32x4_relaxed_madd "f32x4.relaxed_madd" f32x4 from_f32x4 |a, b, c| a * b + c;
    f32x4_relaxed_nmadd "f32x4.relaxed_nmadd" f32x4 from_f32x4 |a, b, c| -a * b + c;
    f64x2_relaxed_madd "f64x2.relaxed_madd" f64x2 from_f64x2 |a, b, c| a * b + c;
    f64x2_relaxed_nmadd "f64x2.relaxed_nmadd" f64x2 from_f64x2 |a, b, c| -a * b + c;
}

/// `i16x8.relaxed_dot_i8x16_i7x16_s`: all bytes are signed, and the sum wraps.
#[inline(always)]
pub fn i16x8_relaxed_dot_i8x16_i7x16_s(a: V128, b: V128) -> V128 {
    let (a, b) = (a.i8x16(), b.i8x16());
    let product = |i: usize| i16::from(a[i]).wrapping_mul(i16::from(b[i]));
    V128::from_i16x8(make(|i| product(2 * i).wrapping_add(product(2 * i + 1))))
}

/// `i32x4.relaxed_dot_i8x16_i7x16_add_s`: [`i16x8_relaxed_dot_i8x16_i7x16_s`], then pairs of its
/// lanes and `c` added in 32 bits.
#[inline(always)]
pub fn i32x4_relaxed_dot_i8x16_i7x16_add_s(a: V128, b: V128, c: V128) -> V128 {
    let dot = i16x8_relaxed_dot_i8x16_i7x16_s(a, b);
    super::i32x4_add(super::i32x4_extadd_pairwise_i16x8_s(dot), c)
}
