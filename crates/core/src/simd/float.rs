//! Operators on floating-point lanes.

use crate::num;

use super::{V128, binary, map, unary, zip};

macro_rules! extremes {
    ($( $ty:ty, $min:ident $max:ident; )*) => {$(
        /// NaN if an operand is NaN; -0 is less than +0. Without branches, so that it becomes
        /// vector instructions.
        #[inline(always)]
        fn $min(a: $ty, b: $ty) -> $ty {
            let (x, y) = (if a < b { a } else { b }, if b < a { b } else { a });
            // Equal numbers differ in nothing but the sign of zero: the minimum has it if any has.
            let least = <$ty>::from_bits(x.to_bits() | y.to_bits());
            if a.is_nan() | b.is_nan() { <$ty>::NAN } else { least }
        }
        /// NaN if an operand is NaN; +0 is more than -0.
        #[inline(always)]
        fn $max(a: $ty, b: $ty) -> $ty {
            let (x, y) = (if a > b { a } else { b }, if b > a { b } else { a });
            let most = <$ty>::from_bits(x.to_bits() & y.to_bits());
            if a.is_nan() | b.is_nan() { <$ty>::NAN } else { most }
        }
    )*};
}

extremes! {
    f32, f32_min f32_max;
    f64, f64_min f64_max;
}

/// The lane of a comparison of `f32`s.
#[inline(always)]
fn mask32(holds: bool) -> i32 {
    i32::from(holds).wrapping_neg()
}

/// The lane of a comparison of `f64`s.
#[inline(always)]
fn mask64(holds: bool) -> i64 {
    i64::from(holds).wrapping_neg()
}

binary! {
    f32x4_add "f32x4.add": f32x4 => from_f32x4 |a, b| a + b;
    f32x4_sub "f32x4.sub": f32x4 => from_f32x4 |a, b| a - b;
    f32x4_mul "f32x4.mul": f32x4 => from_f32x4 |a, b| a * b;
    f32x4_div "f32x4.div": f32x4 => from_f32x4 |a, b| a / b;
    f32x4_min "f32x4.min": f32x4 => from_f32x4 |a, b| f32_min(a, b);
    f32x4_max "f32x4.max": f32x4 => from_f32x4 |a, b| f32_max(a, b);
    f32x4_pmin "f32x4.pmin": f32x4 => from_f32x4 |a, b| if b < a { b } else { a };
    f32x4_pmax "f32x4.pmax": f32x4 => from_f32x4 |a, b| if a < b { b } else { a };
    f32x4_eq "f32x4.eq": f32x4 => from_i32x4 |a, b| mask32(a == b);
    f32x4_ne "f32x4.ne": f32x4 => from_i32x4 |a, b| mask32(a != b);
    f32x4_lt "f32x4.lt": f32x4 => from_i32x4 |a, b| mask32(a < b);
    f32x4_gt "f32x4.gt": f32x4 => from_i32x4 |a, b| mask32(a > b);
    f32x4_le "f32x4.le": f32x4 => from_i32x4 |a, b| mask32(a <= b);
    f32x4_ge "f32x4.ge": f32x4 => from_i32x4 |a, b| mask32(a >= b);
    f64x2_add "f64x2.add": f64x2 => from_f64x2 |a, b| a + b;
    f64x2_sub "f64x2.sub": f64x2 => from_f64x2 |a, b| a - b;
    f64x2_mul "f64x2.mul": f64x2 => from_f64x2 |a, b| a * b;
    f64x2_div "f64x2.div": f64x2 => from_f64x2 |a, b| a / b;
    f64x2_min "f64x2.min": f64x2 => from_f64x2 |a, b| f64_min(a, b);
    f64x2_max "f64x2.max": f64x2 => from_f64x2 |a, b| f64_max(a, b);
    f64x2_pmin "f64x2.pmin": f64x2 => from_f64x2 |a, b| if b < a { b } else { a };
    f64x2_pmax "f64x2.pmax": f64x2 => from_f64x2 |a, b| if a < b { b } else { a };
    f64x2_eq "f64x2.eq": f64x2 => from_i64x2 |a, b| mask64(a == b);
    f64x2_ne "f64x2.ne": f64x2 => from_i64x2 |a, b| mask64(a != b);
    f64x2_lt "f64x2.lt": f64x2 => from_i64x2 |a, b| mask64(a < b);
    f64x2_gt "f64x2.gt": f64x2 => from_i64x2 |a, b| mask64(a > b);
    f64x2_le "f64x2.le": f64x2 => from_i64x2 |a, b| mask64(a <= b);
    f64x2_ge "f64x2.ge": f64x2 => from_i64x2 |a, b| mask64(a >= b);
}

unary! {
    f32x4_canonical "num::f32_canonical, lane by lane": f32x4 => from_f32x4 |a| num::f32_canonical(a);
    f64x2_canonical "num::f64_canonical, lane by lane": f64x2 => from_f64x2 |a| num::f64_canonical(a);
}

unary! {
    f32x4_abs "f32x4.abs": u32x4 => from_u32x4 |a| a & (u32::MAX >> 1);
    f32x4_neg "f32x4.neg": u32x4 => from_u32x4 |a| a ^ !(u32::MAX >> 1);
    f32x4_ceil "f32x4.ceil": f32x4 => from_f32x4 |a| num::f32_ceil(a);
    f32x4_floor "f32x4.floor": f32x4 => from_f32x4 |a| num::f32_floor(a);
    f32x4_trunc "f32x4.trunc": f32x4 => from_f32x4 |a| num::f32_trunc(a);
    f32x4_nearest "f32x4.nearest": f32x4 => from_f32x4 |a| num::f32_nearest(a);
    f32x4_sqrt "f32x4.sqrt": f32x4 => from_f32x4 |a| num::f32_sqrt(a);
    f64x2_abs "f64x2.abs": u64x2 => from_u64x2 |a| a & (u64::MAX >> 1);
    f64x2_neg "f64x2.neg": u64x2 => from_u64x2 |a| a ^ !(u64::MAX >> 1);
    f64x2_ceil "f64x2.ceil": f64x2 => from_f64x2 |a| num::f64_ceil(a);
    f64x2_floor "f64x2.floor": f64x2 => from_f64x2 |a| num::f64_floor(a);
    f64x2_trunc "f64x2.trunc": f64x2 => from_f64x2 |a| num::f64_trunc(a);
    f64x2_nearest "f64x2.nearest": f64x2 => from_f64x2 |a| num::f64_nearest(a);
    f64x2_sqrt "f64x2.sqrt": f64x2 => from_f64x2 |a| num::f64_sqrt(a);
}
