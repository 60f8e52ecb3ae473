//! Operators on integer lanes.

use super::{V128, binary, make, map, unary, zip};

/// The lane of a comparison: all ones if it holds.
macro_rules! mask {
    ($ty:ty, $e:expr) => {
        (0 as $ty).wrapping_sub(<$ty>::from($e))
    };
}

binary! {
    i8x16_add "i8x16.add": i8x16 => from_i8x16 |a, b| a.wrapping_add(b);
    i8x16_sub "i8x16.sub": i8x16 => from_i8x16 |a, b| a.wrapping_sub(b);
    i8x16_add_sat_s "i8x16.add_sat_s": i8x16 => from_i8x16 |a, b| a.saturating_add(b);
    i8x16_add_sat_u "i8x16.add_sat_u": u8x16 => from_u8x16 |a, b| a.saturating_add(b);
    i8x16_sub_sat_s "i8x16.sub_sat_s": i8x16 => from_i8x16 |a, b| a.saturating_sub(b);
    i8x16_sub_sat_u "i8x16.sub_sat_u": u8x16 => from_u8x16 |a, b| a.saturating_sub(b);
    i8x16_min_s "i8x16.min_s": i8x16 => from_i8x16 |a, b| a.min(b);
    i8x16_min_u "i8x16.min_u": u8x16 => from_u8x16 |a, b| a.min(b);
    i8x16_max_s "i8x16.max_s": i8x16 => from_i8x16 |a, b| a.max(b);
    i8x16_max_u "i8x16.max_u": u8x16 => from_u8x16 |a, b| a.max(b);
    i8x16_avgr_u "i8x16.avgr_u": u8x16 => from_u8x16 |a, b| (u16::from(a).wrapping_add(u16::from(b)).wrapping_add(1) >> 1) as u8;
    i8x16_eq "i8x16.eq": i8x16 => from_i8x16 |a, b| mask!(i8, a == b);
    i8x16_ne "i8x16.ne": i8x16 => from_i8x16 |a, b| mask!(i8, a != b);
    i8x16_lt_s "i8x16.lt_s": i8x16 => from_i8x16 |a, b| mask!(i8, a < b);
    i8x16_lt_u "i8x16.lt_u": u8x16 => from_u8x16 |a, b| mask!(u8, a < b);
    i8x16_gt_s "i8x16.gt_s": i8x16 => from_i8x16 |a, b| mask!(i8, a > b);
    i8x16_gt_u "i8x16.gt_u": u8x16 => from_u8x16 |a, b| mask!(u8, a > b);
    i8x16_le_s "i8x16.le_s": i8x16 => from_i8x16 |a, b| mask!(i8, a <= b);
    i8x16_le_u "i8x16.le_u": u8x16 => from_u8x16 |a, b| mask!(u8, a <= b);
    i8x16_ge_s "i8x16.ge_s": i8x16 => from_i8x16 |a, b| mask!(i8, a >= b);
    i8x16_ge_u "i8x16.ge_u": u8x16 => from_u8x16 |a, b| mask!(u8, a >= b);
    i16x8_add "i16x8.add": i16x8 => from_i16x8 |a, b| a.wrapping_add(b);
    i16x8_sub "i16x8.sub": i16x8 => from_i16x8 |a, b| a.wrapping_sub(b);
    i16x8_add_sat_s "i16x8.add_sat_s": i16x8 => from_i16x8 |a, b| a.saturating_add(b);
    i16x8_add_sat_u "i16x8.add_sat_u": u16x8 => from_u16x8 |a, b| a.saturating_add(b);
    i16x8_sub_sat_s "i16x8.sub_sat_s": i16x8 => from_i16x8 |a, b| a.saturating_sub(b);
    i16x8_sub_sat_u "i16x8.sub_sat_u": u16x8 => from_u16x8 |a, b| a.saturating_sub(b);
    i16x8_mul "i16x8.mul": i16x8 => from_i16x8 |a, b| a.wrapping_mul(b);
    i16x8_min_s "i16x8.min_s": i16x8 => from_i16x8 |a, b| a.min(b);
    i16x8_min_u "i16x8.min_u": u16x8 => from_u16x8 |a, b| a.min(b);
    i16x8_max_s "i16x8.max_s": i16x8 => from_i16x8 |a, b| a.max(b);
    i16x8_max_u "i16x8.max_u": u16x8 => from_u16x8 |a, b| a.max(b);
    i16x8_avgr_u "i16x8.avgr_u": u16x8 => from_u16x8 |a, b| (u32::from(a).wrapping_add(u32::from(b)).wrapping_add(1) >> 1) as u16;
    i16x8_eq "i16x8.eq": i16x8 => from_i16x8 |a, b| mask!(i16, a == b);
    i16x8_ne "i16x8.ne": i16x8 => from_i16x8 |a, b| mask!(i16, a != b);
    i16x8_lt_s "i16x8.lt_s": i16x8 => from_i16x8 |a, b| mask!(i16, a < b);
    i16x8_lt_u "i16x8.lt_u": u16x8 => from_u16x8 |a, b| mask!(u16, a < b);
    i16x8_gt_s "i16x8.gt_s": i16x8 => from_i16x8 |a, b| mask!(i16, a > b);
    i16x8_gt_u "i16x8.gt_u": u16x8 => from_u16x8 |a, b| mask!(u16, a > b);
    i16x8_le_s "i16x8.le_s": i16x8 => from_i16x8 |a, b| mask!(i16, a <= b);
    i16x8_le_u "i16x8.le_u": u16x8 => from_u16x8 |a, b| mask!(u16, a <= b);
    i16x8_ge_s "i16x8.ge_s": i16x8 => from_i16x8 |a, b| mask!(i16, a >= b);
    i16x8_ge_u "i16x8.ge_u": u16x8 => from_u16x8 |a, b| mask!(u16, a >= b);
    i32x4_add "i32x4.add": i32x4 => from_i32x4 |a, b| a.wrapping_add(b);
    i32x4_sub "i32x4.sub": i32x4 => from_i32x4 |a, b| a.wrapping_sub(b);
    i32x4_mul "i32x4.mul": i32x4 => from_i32x4 |a, b| a.wrapping_mul(b);
    i32x4_min_s "i32x4.min_s": i32x4 => from_i32x4 |a, b| a.min(b);
    i32x4_min_u "i32x4.min_u": u32x4 => from_u32x4 |a, b| a.min(b);
    i32x4_max_s "i32x4.max_s": i32x4 => from_i32x4 |a, b| a.max(b);
    i32x4_max_u "i32x4.max_u": u32x4 => from_u32x4 |a, b| a.max(b);
    i32x4_eq "i32x4.eq": i32x4 => from_i32x4 |a, b| mask!(i32, a == b);
    i32x4_ne "i32x4.ne": i32x4 => from_i32x4 |a, b| mask!(i32, a != b);
    i32x4_lt_s "i32x4.lt_s": i32x4 => from_i32x4 |a, b| mask!(i32, a < b);
    i32x4_lt_u "i32x4.lt_u": u32x4 => from_u32x4 |a, b| mask!(u32, a < b);
    i32x4_gt_s "i32x4.gt_s": i32x4 => from_i32x4 |a, b| mask!(i32, a > b);
    i32x4_gt_u "i32x4.gt_u": u32x4 => from_u32x4 |a, b| mask!(u32, a > b);
    i32x4_le_s "i32x4.le_s": i32x4 => from_i32x4 |a, b| mask!(i32, a <= b);
    i32x4_le_u "i32x4.le_u": u32x4 => from_u32x4 |a, b| mask!(u32, a <= b);
    i32x4_ge_s "i32x4.ge_s": i32x4 => from_i32x4 |a, b| mask!(i32, a >= b);
    i32x4_ge_u "i32x4.ge_u": u32x4 => from_u32x4 |a, b| mask!(u32, a >= b);
    i64x2_add "i64x2.add": i64x2 => from_i64x2 |a, b| a.wrapping_add(b);
    i64x2_sub "i64x2.sub": i64x2 => from_i64x2 |a, b| a.wrapping_sub(b);
    i64x2_mul "i64x2.mul": i64x2 => from_i64x2 |a, b| a.wrapping_mul(b);
    i64x2_eq "i64x2.eq": i64x2 => from_i64x2 |a, b| mask!(i64, a == b);
    i64x2_ne "i64x2.ne": i64x2 => from_i64x2 |a, b| mask!(i64, a != b);
    i64x2_lt_s "i64x2.lt_s": i64x2 => from_i64x2 |a, b| mask!(i64, a < b);
    i64x2_gt_s "i64x2.gt_s": i64x2 => from_i64x2 |a, b| mask!(i64, a > b);
    i64x2_le_s "i64x2.le_s": i64x2 => from_i64x2 |a, b| mask!(i64, a <= b);
    i64x2_ge_s "i64x2.ge_s": i64x2 => from_i64x2 |a, b| mask!(i64, a >= b);
    i16x8_q15mulr_sat_s "i16x8.q15mulr_sat_s": i16x8 => from_i16x8 |a, b| q15mulr(a, b);
}

unary! {
    i8x16_neg "i8x16.neg": i8x16 => from_i8x16 |a| a.wrapping_neg();
    i8x16_abs "i8x16.abs": i8x16 => from_i8x16 |a| a.wrapping_abs();
    i8x16_popcnt "i8x16.popcnt": u8x16 => from_u8x16 |a| bits_of(a);
    i16x8_neg "i16x8.neg": i16x8 => from_i16x8 |a| a.wrapping_neg();
    i16x8_abs "i16x8.abs": i16x8 => from_i16x8 |a| a.wrapping_abs();
    i32x4_neg "i32x4.neg": i32x4 => from_i32x4 |a| a.wrapping_neg();
    i32x4_abs "i32x4.abs": i32x4 => from_i32x4 |a| a.wrapping_abs();
    i64x2_neg "i64x2.neg": i64x2 => from_i64x2 |a| a.wrapping_neg();
    i64x2_abs "i64x2.abs": i64x2 => from_i64x2 |a| a.wrapping_abs();
}

/// The number of ones in a byte, in steps that vector instructions have.
#[inline(always)]
const fn bits_of(a: u8) -> u8 {
    let pairs = a.wrapping_sub((a >> 1) & 0x55);
    let fours = (pairs & 0x33).wrapping_add((pairs >> 2) & 0x33);
    fours.wrapping_add(fours >> 4) & 0x0f
}

/// The product of two fractions of 15 bits, rounded; 1 has no representation and saturates.
#[inline(always)]
fn q15mulr(a: i16, b: i16) -> i16 {
    let product = i32::from(a).wrapping_mul(i32::from(b)).wrapping_add(0x4000) >> 15;
    product.min(i32::from(i16::MAX)) as i16
}

macro_rules! shifts {
    ($( $name:ident $text:literal: $get:ident => $from:ident, $bits:literal, |$a:ident, $n:ident| $e:expr; )*) => {$(
        #[doc = concat!("`", $text, "`: the count is taken modulo the width of a lane.")]
        #[inline(always)]
        pub fn $name(a: V128, count: u32) -> V128 {
            let $n = count & ($bits - 1);
            V128::$from(map(a.$get(), |$a| $e))
        }
    )*};
}

shifts! {
    i8x16_shl "i8x16.shl": u8x16 => from_u8x16, 8, |a, n| a.wrapping_shl(n);
    i8x16_shr_s "i8x16.shr_s": i8x16 => from_i8x16, 8, |a, n| a.wrapping_shr(n);
    i8x16_shr_u "i8x16.shr_u": u8x16 => from_u8x16, 8, |a, n| a.wrapping_shr(n);
    i16x8_shl "i16x8.shl": u16x8 => from_u16x8, 16, |a, n| a.wrapping_shl(n);
    i16x8_shr_s "i16x8.shr_s": i16x8 => from_i16x8, 16, |a, n| a.wrapping_shr(n);
    i16x8_shr_u "i16x8.shr_u": u16x8 => from_u16x8, 16, |a, n| a.wrapping_shr(n);
    i32x4_shl "i32x4.shl": u32x4 => from_u32x4, 32, |a, n| a.wrapping_shl(n);
    i32x4_shr_s "i32x4.shr_s": i32x4 => from_i32x4, 32, |a, n| a.wrapping_shr(n);
    i32x4_shr_u "i32x4.shr_u": u32x4 => from_u32x4, 32, |a, n| a.wrapping_shr(n);
    i64x2_shl "i64x2.shl": u64x2 => from_u64x2, 64, |a, n| a.wrapping_shl(n);
    i64x2_shr_s "i64x2.shr_s": i64x2 => from_i64x2, 64, |a, n| a.wrapping_shr(n);
    i64x2_shr_u "i64x2.shr_u": u64x2 => from_u64x2, 64, |a, n| a.wrapping_shr(n);
}

/// The lowest bit of each lane of 8 bits.
const ONES8: u64 = 0x0101_0101_0101_0101;
/// The lowest bit of each lane of 16 bits.
const ONES16: u64 = 0x0001_0001_0001_0001;

/// Whether a word holds no zero among lanes whose lowest bits are `ones` and highest ones `tops`.
#[inline(always)]
const fn no_zero(word: u64, ones: u64, tops: u64) -> bool {
    word.wrapping_sub(ones) & !word & tops == 0
}

/// `i8x16.all_true`
#[inline(always)]
pub fn i8x16_all_true(a: V128) -> bool {
    let [low, high] = a.u64x2();
    no_zero(low, ONES8, ONES8 << 7) & no_zero(high, ONES8, ONES8 << 7)
}

/// `i16x8.all_true`
#[inline(always)]
pub fn i16x8_all_true(a: V128) -> bool {
    let [low, high] = a.u64x2();
    no_zero(low, ONES16, ONES16 << 15) & no_zero(high, ONES16, ONES16 << 15)
}

/// `i32x4.all_true`
#[inline(always)]
pub fn i32x4_all_true(a: V128) -> bool {
    let [x, y, z, w] = a.u32x4();
    (x != 0) & (y != 0) & (z != 0) & (w != 0)
}

/// `i64x2.all_true`
#[inline(always)]
pub fn i64x2_all_true(a: V128) -> bool {
    let [low, high] = a.u64x2();
    (low != 0) & (high != 0)
}

/// `i8x16.bitmask`
#[inline(always)]
pub fn i8x16_bitmask(a: V128) -> u32 {
    // The multiplication gathers the bits in the highest byte, without carries: each pair of
    // factors' bits that meet in it comes from one lane.
    let half = |word: u64| (((word >> 7) & ONES8).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32;
    let [low, high] = a.u64x2();
    half(low) | half(high) << 8
}

/// `i16x8.bitmask`
#[inline(always)]
pub fn i16x8_bitmask(a: V128) -> u32 {
    let half =
        |word: u64| (((word >> 15) & ONES16).wrapping_mul(0x1000_2000_4000_8000) >> 60) as u32;
    let [low, high] = a.u64x2();
    half(low) | half(high) << 4
}

/// `i32x4.bitmask`
#[inline(always)]
pub fn i32x4_bitmask(a: V128) -> u32 {
    let [x, y, z, w] = a.u32x4();
    x >> 31 | y >> 31 << 1 | z >> 31 << 2 | w >> 31 << 3
}

/// `i64x2.bitmask`
#[inline(always)]
pub fn i64x2_bitmask(a: V128) -> u32 {
    let [low, high] = a.u64x2();
    (low >> 63 | high >> 63 << 1) as u32
}

/// `i32x4.dot_i16x8_s`: of all products of two, only the sum of two times the lowest number
/// squared wraps.
#[inline(always)]
pub fn i32x4_dot_i16x8_s(a: V128, b: V128) -> V128 {
    let (a, b) = (a.i16x8(), b.i16x8());
    let product = |i: usize| i32::from(a[i]).wrapping_mul(i32::from(b[i]));
    V128::from_i32x4(make(|i| product(2 * i).wrapping_add(product(2 * i + 1))))
}

/// Operators that make wider lanes out of half of the lanes of one vector or of two, or out of pairs.
macro_rules! widening {
    ($( $get:ident $narrow:ty => $from:ident $wide:ty, $half:literal:
        $low:ident $low_text:literal, $high:ident $high_text:literal,
        $mul_low:ident $mul_low_text:literal, $mul_high:ident $mul_high_text:literal; )*) => {$(
        #[doc = concat!("`", $low_text, "`")]
        #[inline(always)]
        pub fn $low(a: V128) -> V128 {
            let a = a.$get();
            V128::$from(make(|i| <$wide>::from(a[i])))
        }
        #[doc = concat!("`", $high_text, "`")]
        #[inline(always)]
        pub fn $high(a: V128) -> V128 {
            let a = a.$get();
            V128::$from(make(|i| <$wide>::from(a[$half + i])))
        }
        #[doc = concat!("`", $mul_low_text, "`")]
        #[inline(always)]
        pub fn $mul_low(a: V128, b: V128) -> V128 {
            let (a, b) = (a.$get(), b.$get());
            V128::$from(make(|i| <$wide>::from(a[i]).wrapping_mul(<$wide>::from(b[i]))))
        }
        #[doc = concat!("`", $mul_high_text, "`")]
        #[inline(always)]
        pub fn $mul_high(a: V128, b: V128) -> V128 {
            let (a, b) = (a.$get(), b.$get());
            V128::$from(make(|i| {
                <$wide>::from(a[$half + i]).wrapping_mul(<$wide>::from(b[$half + i]))
            }))
        }
    )*};
}

widening! {
    i8x16 i8 => from_i16x8 i16, 8:
        i16x8_extend_low_i8x16_s "i16x8.extend_low_i8x16_s", i16x8_extend_high_i8x16_s "i16x8.extend_high_i8x16_s",
        i16x8_extmul_low_i8x16_s "i16x8.extmul_low_i8x16_s", i16x8_extmul_high_i8x16_s "i16x8.extmul_high_i8x16_s";
    u8x16 u8 => from_u16x8 u16, 8:
        i16x8_extend_low_i8x16_u "i16x8.extend_low_i8x16_u", i16x8_extend_high_i8x16_u "i16x8.extend_high_i8x16_u",
        i16x8_extmul_low_i8x16_u "i16x8.extmul_low_i8x16_u", i16x8_extmul_high_i8x16_u "i16x8.extmul_high_i8x16_u";
    i16x8 i16 => from_i32x4 i32, 4:
        i32x4_extend_low_i16x8_s "i32x4.extend_low_i16x8_s", i32x4_extend_high_i16x8_s "i32x4.extend_high_i16x8_s",
        i32x4_extmul_low_i16x8_s "i32x4.extmul_low_i16x8_s", i32x4_extmul_high_i16x8_s "i32x4.extmul_high_i16x8_s";
    u16x8 u16 => from_u32x4 u32, 4:
        i32x4_extend_low_i16x8_u "i32x4.extend_low_i16x8_u", i32x4_extend_high_i16x8_u "i32x4.extend_high_i16x8_u",
        i32x4_extmul_low_i16x8_u "i32x4.extmul_low_i16x8_u", i32x4_extmul_high_i16x8_u "i32x4.extmul_high_i16x8_u";
    i32x4 i32 => from_i64x2 i64, 2:
        i64x2_extend_low_i32x4_s "i64x2.extend_low_i32x4_s", i64x2_extend_high_i32x4_s "i64x2.extend_high_i32x4_s",
        i64x2_extmul_low_i32x4_s "i64x2.extmul_low_i32x4_s", i64x2_extmul_high_i32x4_s "i64x2.extmul_high_i32x4_s";
    u32x4 u32 => from_u64x2 u64, 2:
        i64x2_extend_low_i32x4_u "i64x2.extend_low_i32x4_u", i64x2_extend_high_i32x4_u "i64x2.extend_high_i32x4_u",
        i64x2_extmul_low_i32x4_u "i64x2.extmul_low_i32x4_u", i64x2_extmul_high_i32x4_u "i64x2.extmul_high_i32x4_u";
}

macro_rules! pairwise {
    ($( $name:ident $text:literal: $get:ident => $from:ident $wide:ty; )*) => {$(
        #[doc = concat!("`", $text, "`")]
        #[inline(always)]
        pub fn $name(a: V128) -> V128 {
            let a = a.$get();
            V128::$from(make(|i| {
                <$wide>::from(a[2 * i]).wrapping_add(<$wide>::from(a[2 * i + 1]))
            }))
        }
    )*};
}

pairwise! {
    i16x8_extadd_pairwise_i8x16_s "i16x8.extadd_pairwise_i8x16_s": i8x16 => from_i16x8 i16;
    i16x8_extadd_pairwise_i8x16_u "i16x8.extadd_pairwise_i8x16_u": u8x16 => from_u16x8 u16;
    i32x4_extadd_pairwise_i16x8_s "i32x4.extadd_pairwise_i16x8_s": i16x8 => from_i32x4 i32;
    i32x4_extadd_pairwise_i16x8_u "i32x4.extadd_pairwise_i16x8_u": u16x8 => from_u32x4 u32;
}

macro_rules! narrowing {
    ($( $name:ident $text:literal: $get:ident => $from:ident $to:ty, $half:literal, $min:expr, $max:expr; )*) => {$(
        #[doc = concat!("`", $text, "`: saturates.")]
        #[inline(always)]
        pub fn $name(a: V128, b: V128) -> V128 {
            let (a, b) = (a.$get(), b.$get());
            V128::$from(make(|i| {
                let lane = if i < $half { a[i] } else { b[i - $half] };
                lane.clamp($min, $max) as $to
            }))
        }
    )*};
}

narrowing! {
    i8x16_narrow_i16x8_s "i8x16.narrow_i16x8_s": i16x8 => from_i8x16 i8, 8, -128, 127;
    i8x16_narrow_i16x8_u "i8x16.narrow_i16x8_u": i16x8 => from_u8x16 u8, 8, 0, 255;
    i16x8_narrow_i32x4_s "i16x8.narrow_i32x4_s": i32x4 => from_i16x8 i16, 4, -32768, 32767;
    i16x8_narrow_i32x4_u "i16x8.narrow_i32x4_u": i32x4 => from_u16x8 u16, 4, 0, 65535;
}
