//! What the numeric operators do at their edges.

use std::hint::black_box;

use super::*;
use crate::TrapCode::{IntegerDivideByZero, IntegerOverflow, InvalidConversionToInteger};

#[test]
fn division_traps_on_zero_and_on_the_quotient_that_does_not_fit() {
    assert_eq!(i32_div_s(7, -2), Ok(-3));
    assert_eq!(i32_div_s(1, 0), Err(IntegerDivideByZero));
    assert_eq!(i32_div_s(i32::MIN, 0), Err(IntegerDivideByZero));
    assert_eq!(i32_div_s(i32::MIN, -1), Err(IntegerOverflow));
    assert_eq!(i32_div_s(i32::MIN, 1), Ok(i32::MIN));
    assert_eq!(i32_div_u(u32::MAX, 1), Ok(u32::MAX));
    assert_eq!(i32_div_u(0x8000_0000, u32::MAX), Ok(0));
    assert_eq!(i32_div_u(1, 0), Err(IntegerDivideByZero));
    assert_eq!(i64_div_s(i64::MIN, -1), Err(IntegerOverflow));
    assert_eq!(i64_div_s(i64::MIN, 2), Ok(i64::MIN / 2));
    assert_eq!(i64_div_s(i64::MIN, 0), Err(IntegerDivideByZero));
    assert_eq!(i64_div_u(u64::MAX, 2), Ok(u64::MAX / 2));
    assert_eq!(i64_div_u(0, 0), Err(IntegerDivideByZero));
}

#[test]
fn remainders_trap_on_zero_alone() {
    assert_eq!(i32_rem_s(i32::MIN, -1), Ok(0));
    assert_eq!(i32_rem_s(-7, 2), Ok(-1));
    assert_eq!(i32_rem_s(7, -2), Ok(1));
    assert_eq!(i32_rem_s(7, 0), Err(IntegerDivideByZero));
    assert_eq!(i32_rem_u(u32::MAX, 16), Ok(15));
    assert_eq!(i32_rem_u(1, 0), Err(IntegerDivideByZero));
    assert_eq!(i64_rem_s(i64::MIN, -1), Ok(0));
    assert_eq!(i64_rem_s(-7, 0), Err(IntegerDivideByZero));
    assert_eq!(i64_rem_u(u64::MAX, 16), Ok(15));
    assert_eq!(i64_rem_u(1, 0), Err(IntegerDivideByZero));
}

#[test]
fn integers_wrap() {
    assert_eq!(i32_add(i32::MAX, 1), i32::MIN);
    assert_eq!(i32_sub(i32::MIN, 1), i32::MAX);
    assert_eq!(i32_mul(0x0123_4567, 0x7654_3210), 0x358e_7470);
    assert_eq!(i64_add(i64::MAX, 1), i64::MIN);
    assert_eq!(i64_sub(i64::MIN, 1), i64::MAX);
    assert_eq!(i64_mul(i64::MIN, -1), i64::MIN);
}

#[test]
fn shift_counts_are_taken_modulo_the_width() {
    for (count, same) in [(0, 32), (1, 33), (31, 63), (31, -1), (0, i32::MIN)] {
        let a = 0x8765_4321_u32 as i32;
        assert_eq!(i32_shl(a, count), i32_shl(a, same));
        assert_eq!(i32_shr_s(a, count), i32_shr_s(a, same));
        assert_eq!(i32_shr_u(a as u32, count as u32), i32_shr_u(a as u32, same as u32));
        assert_eq!(i32_rotl(a, count), i32_rotl(a, same));
        assert_eq!(i32_rotr(a, count), i32_rotr(a, same));
    }
    for (count, same) in [(0, 64), (1, 65), (63, 127), (63, -1), (0, i64::MIN), (0, 1 << 32)] {
        let a = 0x8765_4321_0fed_cba9_u64 as i64;
        assert_eq!(i64_shl(a, count), i64_shl(a, same));
        assert_eq!(i64_shr_s(a, count), i64_shr_s(a, same));
        assert_eq!(i64_shr_u(a as u64, count as u64), i64_shr_u(a as u64, same as u64));
        assert_eq!(i64_rotl(a, count), i64_rotl(a, same));
        assert_eq!(i64_rotr(a, count), i64_rotr(a, same));
    }
    assert_eq!(i32_shl(1, 31), i32::MIN);
    assert_eq!(i32_shr_s(i32::MIN, 31), -1);
    assert_eq!(i32_shr_u(0x8000_0000, 31), 1);
    assert_eq!(i32_rotl(0x8000_0000_u32 as i32, 1), 1);
    assert_eq!(i32_rotr(1, 1), i32::MIN);
    assert_eq!(i64_rotl(0xabd1_2345_6789_abcd_u64 as i64, 5), 0x7a24_68ac_f135_79b5);
    assert_eq!(i64_rotr(1, 1), i64::MIN);
}

#[test]
fn bits_are_counted() {
    assert_eq!((i32_clz(0), i32_ctz(0), i32_popcnt(0)), (32, 32, 0));
    assert_eq!((i32_clz(-1), i32_ctz(-1), i32_popcnt(-1)), (0, 0, 32));
    assert_eq!((i32_clz(0x8000), i32_ctz(0x8000), i32_popcnt(0x8000)), (16, 15, 1));
    assert_eq!((i64_clz(0), i64_ctz(0), i64_popcnt(0)), (64, 64, 0));
    assert_eq!((i64_clz(i64::MIN), i64_ctz(i64::MIN), i64_popcnt(i64::MIN)), (0, 63, 1));
    assert_eq!(i64_popcnt(0xdead_beef_dead_beef_u64 as i64), 48);
}

#[test]
fn comparisons_know_the_sign() {
    assert!(i32_lt_s(-1, 0) && !i32_lt_u(-1_i32 as u32, 0));
    assert!(i32_gt_u(u32::MAX, 1) && !i32_gt_s(-1, 1));
    assert!(i32_le_s(i32::MIN, i32::MAX) && i32_ge_u(0x8000_0000, 0x7fff_ffff));
    assert!(i32_le_u(3, 3) && i32_ge_s(3, 3));
    assert!(i64_lt_s(i64::MIN, 0) && i64_gt_u(1 << 63, 0));
    assert!(i64_le_u(3, 3) && i64_ge_s(3, 3) && i64_le_s(-3, 3) && i64_ge_u(4, 3));
    assert!(i64_lt_u(3, 4) && i64_gt_s(4, -3));
    assert!(i32_eqz(0) && !i32_eqz(i32::MIN) && i64_eqz(0) && !i64_eqz(1 << 32));
    assert!(i32_eq(1, 1) && i32_ne(1, 2) && i64_eq(-1, -1) && i64_ne(1, 1 << 32 | 1));
}

#[test]
fn logic_and_extensions() {
    assert_eq!((i32_and(12, 10), i32_or(12, 10), i32_xor(12, 10)), (8, 14, 6));
    assert_eq!((i64_and(12, 10), i64_or(12, 10), i64_xor(12, 10)), (8, 14, 6));
    assert_eq!(i32_extend8_s(0x180), -128);
    assert_eq!(i32_extend8_s(0x7f), 127);
    assert_eq!(i32_extend16_s(0x1_8000), -32768);
    assert_eq!(i64_extend8_s(0xff), -1);
    assert_eq!(i64_extend16_s(0xffff), -1);
    assert_eq!(i64_extend32_s(0x1_8000_0000), -0x8000_0000);
    assert_eq!(i64_extend_i32_s(-1), -1);
    assert_eq!(i64_extend_i32_u(u32::MAX), 0xffff_ffff);
    assert_eq!(i32_wrap_i64(0x1_8000_0000), i32::MIN);
}

const F32_EDGES: [f32; 22] = [
    0.0,
    0.1,
    0.499_999_97,
    0.5,
    0.500_000_06,
    0.999_999_94,
    1.0,
    1.5,
    2.5,
    3.5,
    4_194_303.8,
    4_194_304.5,
    8_388_607.0,
    8_388_607.5,
    8_388_608.0,
    8_388_609.0,
    16_777_216.0,
    1e30,
    f32::MAX,
    f32::MIN_POSITIVE,
    1e-45,
    f32::INFINITY,
];

const F64_EDGES: [f64; 22] = [
    0.0,
    0.1,
    0.499_999_999_999_999_94,
    0.5,
    0.500_000_000_000_000_1,
    0.999_999_999_999_999_9,
    1.0,
    1.5,
    2.5,
    3.5,
    2_251_799_813_685_247.8,
    2_251_799_813_685_248.5,
    4_503_599_627_370_495.0,
    4_503_599_627_370_495.5,
    4_503_599_627_370_496.0,
    4_503_599_627_370_497.0,
    9_007_199_254_740_992.0,
    1e300,
    f64::MAX,
    f64::MIN_POSITIVE,
    5e-324,
    f64::INFINITY,
];

#[test]
fn rounding_equals_that_of_the_standard_library() {
    let same32 = |a: f32| {
        assert_eq!(f32_soft_ceil(a).to_bits(), a.ceil().to_bits(), "ceil {a}");
        assert_eq!(f32_soft_floor(a).to_bits(), a.floor().to_bits(), "floor {a}");
        assert_eq!(f32_soft_trunc(a).to_bits(), a.trunc().to_bits(), "trunc {a}");
        assert_eq!(f32_soft_nearest(a).to_bits(), a.round_ties_even().to_bits(), "nearest {a}");
        assert_eq!(f32_ceil(a).to_bits(), a.ceil().to_bits());
        assert_eq!(f32_floor(a).to_bits(), a.floor().to_bits());
        assert_eq!(f32_trunc(a).to_bits(), a.trunc().to_bits());
        assert_eq!(f32_nearest(a).to_bits(), a.round_ties_even().to_bits());
    };
    let same64 = |a: f64| {
        assert_eq!(f64_soft_ceil(a).to_bits(), a.ceil().to_bits(), "ceil {a}");
        assert_eq!(f64_soft_floor(a).to_bits(), a.floor().to_bits(), "floor {a}");
        assert_eq!(f64_soft_trunc(a).to_bits(), a.trunc().to_bits(), "trunc {a}");
        assert_eq!(f64_soft_nearest(a).to_bits(), a.round_ties_even().to_bits(), "nearest {a}");
        assert_eq!(f64_ceil(a).to_bits(), a.ceil().to_bits());
        assert_eq!(f64_floor(a).to_bits(), a.floor().to_bits());
        assert_eq!(f64_trunc(a).to_bits(), a.trunc().to_bits());
        assert_eq!(f64_nearest(a).to_bits(), a.round_ties_even().to_bits());
    };
    for a in F32_EDGES {
        same32(a);
        same32(-a);
    }
    for a in F64_EDGES {
        same64(a);
        same64(-a);
    }
    // A walk over all exponents with varying fractions.
    let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..200_000 {
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        let (a, b) = (f32::from_bits(bits as u32), f64::from_bits(bits));
        if !a.is_nan() {
            same32(a);
        }
        if !b.is_nan() {
            same64(b);
        }
        // Most random bit patterns are far from where rounding matters.
        same32(((bits >> 20) as i32 as f32) / 256.0);
        same64(((bits >> 10) as i64 as f64) / 4096.0);
    }
}

#[test]
fn minimum_and_maximum_know_zeros_and_nans() {
    assert_eq!(f64_min(-0.0, 0.0).to_bits(), (-0.0_f64).to_bits());
    assert_eq!(f64_min(0.0, -0.0).to_bits(), (-0.0_f64).to_bits());
    assert_eq!(f64_max(-0.0, 0.0).to_bits(), 0);
    assert_eq!(f64_max(0.0, -0.0).to_bits(), 0);
    assert_eq!(f32_min(-0.0, 0.0).to_bits(), 0x8000_0000);
    assert_eq!(f32_max(-0.0, 0.0).to_bits(), 0);
    assert_eq!(f64_min(1.0, f64::NEG_INFINITY), f64::NEG_INFINITY);
    assert_eq!(f64_max(1.0, f64::INFINITY), f64::INFINITY);
    assert_eq!(f64_min(-3.0, -3.0), -3.0);
    assert_eq!(f64_max(-3.0, -2.0), -2.0);
    assert!(f64_min(f64::NAN, f64::NEG_INFINITY).is_nan());
    assert!(f64_min(f64::NEG_INFINITY, f64::NAN).is_nan());
    assert!(f64_max(f64::NAN, f64::INFINITY).is_nan());
    assert!(f32_max(f32::INFINITY, f32::NAN).is_nan());
}

const SIGNALLING_32: [u32; 4] = [0x7f80_0001, 0x7fa0_0000, 0xff80_0001, 0xffbf_ffff];
const SIGNALLING_64: [u64; 4] =
    [0x7ff0_0000_0000_0001, 0x7ff4_0000_0000_0000, 0xfff0_0000_0000_0001, 0xfff7_ffff_ffff_ffff];

fn quiet32(a: f32) -> bool {
    a.is_nan() && a.to_bits() & 0x0040_0000 != 0
}

fn quiet64(a: f64) -> bool {
    a.is_nan() && a.to_bits() & 0x0008_0000_0000_0000 != 0
}

#[test]
fn arithmetic_makes_signalling_nans_quiet() {
    for bits in SIGNALLING_32 {
        let a = black_box(f32::from_bits(bits));
        for b in [black_box(1.0_f32), black_box(-0.0), black_box(f32::INFINITY), a] {
            for f in [f32_add, f32_sub, f32_mul, f32_div, f32_min, f32_max] {
                assert!(quiet32(f(a, b)) && quiet32(f(b, a)), "{bits:#x}");
            }
        }
        for f in [f32_ceil, f32_floor, f32_trunc, f32_nearest, f32_sqrt] {
            assert!(quiet32(f(a)), "{bits:#x}");
        }
        assert!(quiet64(f64_promote_f32(a)));
    }
    for bits in SIGNALLING_64 {
        let a = black_box(f64::from_bits(bits));
        for b in [black_box(1.0_f64), black_box(-0.0), black_box(f64::INFINITY), a] {
            for f in [f64_add, f64_sub, f64_mul, f64_div, f64_min, f64_max] {
                assert!(quiet64(f(a, b)) && quiet64(f(b, a)), "{bits:#x}");
            }
        }
        for f in [f64_ceil, f64_floor, f64_trunc, f64_nearest, f64_sqrt] {
            assert!(quiet64(f(a)), "{bits:#x}");
        }
        assert!(quiet32(f32_demote_f64(a)));
    }
}

#[test]
fn canonical_nans_stay_canonical() {
    for bits in [0x7fc0_0000_u32, 0xffc0_0000] {
        let a = black_box(f32::from_bits(bits));
        let canonical = |r: f32| r.to_bits() & 0x7fff_ffff == 0x7fc0_0000;
        for f in [f32_add, f32_sub, f32_mul, f32_div, f32_min, f32_max] {
            assert!(canonical(f(a, 1.0)) && canonical(f(1.0, a)) && canonical(f(a, a)));
        }
        for f in [f32_ceil, f32_floor, f32_trunc, f32_nearest, f32_sqrt] {
            assert!(canonical(f(a)));
        }
        assert_eq!(f64_promote_f32(a).to_bits() & (u64::MAX >> 1), 0x7ff8 << 48);
    }
    for bits in [0x7ff8_u64 << 48, 0xfff8 << 48] {
        let a = black_box(f64::from_bits(bits));
        let canonical = |r: f64| r.to_bits() & (u64::MAX >> 1) == 0x7ff8 << 48;
        for f in [f64_add, f64_sub, f64_mul, f64_div, f64_min, f64_max] {
            assert!(canonical(f(a, 1.0)) && canonical(f(1.0, a)) && canonical(f(a, a)));
        }
        for f in [f64_ceil, f64_floor, f64_trunc, f64_nearest, f64_sqrt] {
            assert!(canonical(f(a)));
        }
        assert_eq!(f32_demote_f64(a).to_bits() & 0x7fff_ffff, 0x7fc0_0000);
    }
    for nan in [
        f64_div(black_box(0.0), 0.0),
        f64_sqrt(black_box(-1.0)),
        f64_sub(black_box(f64::INFINITY), f64::INFINITY),
    ] {
        assert_eq!(nan.to_bits() & (u64::MAX >> 1), 0x7ff8 << 48);
    }
}

#[test]
fn sign_operators_keep_every_bit() {
    for bits in SIGNALLING_32.into_iter().chain([0, 0x8000_0000, 0x3f80_0000, 0x7fc0_0000]) {
        let a = f32::from_bits(bits);
        assert_eq!(f32_abs(a).to_bits(), bits & 0x7fff_ffff);
        assert_eq!(f32_neg(a).to_bits(), bits ^ 0x8000_0000);
        assert_eq!(f32_copysign(a, -1.0).to_bits(), bits | 0x8000_0000);
        assert_eq!(f32_copysign(a, 1.0).to_bits(), bits & 0x7fff_ffff);
        assert_eq!(i32_reinterpret_f32(a), bits as i32);
        assert_eq!(f32_reinterpret_i32(bits as i32).to_bits(), bits);
    }
    for bits in SIGNALLING_64.into_iter().chain([0, 1 << 63, 0x3ff0 << 48]) {
        let a = f64::from_bits(bits);
        assert_eq!(f64_abs(a).to_bits(), bits & (u64::MAX >> 1));
        assert_eq!(f64_neg(a).to_bits(), bits ^ (1 << 63));
        assert_eq!(
            f64_copysign(a, f64::from_bits(0xfff0_0000_0000_0001)).to_bits(),
            bits | 1 << 63
        );
        assert_eq!(f64_copysign(a, 1.0).to_bits(), bits & (u64::MAX >> 1));
        assert_eq!(i64_reinterpret_f64(a), bits as i64);
        assert_eq!(f64_reinterpret_i64(bits as i64).to_bits(), bits);
    }
}

#[test]
fn truncation_traps_just_outside_the_range() {
    assert_eq!(i32_trunc_f32_s(2_147_483_520.0), Ok(2_147_483_520));
    assert_eq!(i32_trunc_f32_s(2_147_483_648.0), Err(IntegerOverflow));
    assert_eq!(i32_trunc_f32_s(-2_147_483_648.0), Ok(i32::MIN));
    assert_eq!(i32_trunc_f32_s(-2_147_483_904.0), Err(IntegerOverflow));
    assert_eq!(i32_trunc_f32_u(4_294_967_040.0), Ok(4_294_967_040));
    assert_eq!(i32_trunc_f32_u(4_294_967_296.0), Err(IntegerOverflow));
    assert_eq!(i32_trunc_f32_u(-0.999_999_94), Ok(0));
    assert_eq!(i32_trunc_f32_u(-1.0), Err(IntegerOverflow));
    assert_eq!(i32_trunc_f64_s(2_147_483_647.999_999_8), Ok(i32::MAX));
    assert_eq!(i32_trunc_f64_s(2_147_483_648.0), Err(IntegerOverflow));
    assert_eq!(i32_trunc_f64_s(-2_147_483_648.999_999_5), Ok(i32::MIN));
    assert_eq!(i32_trunc_f64_s(-2_147_483_649.0), Err(IntegerOverflow));
    assert_eq!(i32_trunc_f64_u(4_294_967_295.999_999_5), Ok(u32::MAX));
    assert_eq!(i32_trunc_f64_u(4_294_967_296.0), Err(IntegerOverflow));
    assert_eq!(i32_trunc_f64_u(-0.999_999_999_999_999_9), Ok(0));
    assert_eq!(i32_trunc_f64_u(-1.0), Err(IntegerOverflow));
    assert_eq!(i64_trunc_f32_s(9_223_371_487_098_961_920.0), Ok(9_223_371_487_098_961_920));
    assert_eq!(i64_trunc_f32_s(9_223_372_036_854_775_808.0), Err(IntegerOverflow));
    assert_eq!(i64_trunc_f32_s(-9_223_372_036_854_775_808.0), Ok(i64::MIN));
    assert_eq!(i64_trunc_f32_s(-9_223_373_136_366_403_584.0), Err(IntegerOverflow));
    assert_eq!(i64_trunc_f32_u(18_446_742_974_197_923_840.0), Ok(18_446_742_974_197_923_840));
    assert_eq!(i64_trunc_f32_u(18_446_744_073_709_551_616.0), Err(IntegerOverflow));
    assert_eq!(i64_trunc_f32_u(-1.0), Err(IntegerOverflow));
    assert_eq!(i64_trunc_f64_s(9_223_372_036_854_774_784.0), Ok(9_223_372_036_854_774_784));
    assert_eq!(i64_trunc_f64_s(9_223_372_036_854_775_808.0), Err(IntegerOverflow));
    assert_eq!(i64_trunc_f64_s(-9_223_372_036_854_775_808.0), Ok(i64::MIN));
    assert_eq!(i64_trunc_f64_s(-9_223_372_036_854_777_856.0), Err(IntegerOverflow));
    assert_eq!(i64_trunc_f64_u(18_446_744_073_709_549_568.0), Ok(18_446_744_073_709_549_568));
    assert_eq!(i64_trunc_f64_u(18_446_744_073_709_551_616.0), Err(IntegerOverflow));
    assert_eq!(i64_trunc_f64_u(-0.5), Ok(0));
    assert_eq!(i64_trunc_f64_u(-1.0), Err(IntegerOverflow));
    assert_eq!(i32_trunc_f32_s(f32::NAN), Err(InvalidConversionToInteger));
    assert_eq!(i32_trunc_f64_u(f64::NAN), Err(InvalidConversionToInteger));
    assert_eq!(i64_trunc_f32_u(-f32::NAN), Err(InvalidConversionToInteger));
    assert_eq!(i64_trunc_f64_s(f64::INFINITY), Err(IntegerOverflow));
    assert_eq!(i64_trunc_f64_u(f64::NEG_INFINITY), Err(IntegerOverflow));
}

#[test]
fn saturating_truncation_never_traps() {
    assert_eq!(i32_trunc_sat_f32_s(f32::NAN), 0);
    assert_eq!(i32_trunc_sat_f32_s(f32::INFINITY), i32::MAX);
    assert_eq!(i32_trunc_sat_f32_u(-1.0), 0);
    assert_eq!(i32_trunc_sat_f64_s(f64::NEG_INFINITY), i32::MIN);
    assert_eq!(i32_trunc_sat_f64_u(4_294_967_296.0), u32::MAX);
    assert_eq!(i64_trunc_sat_f32_s(-1e30), i64::MIN);
    assert_eq!(i64_trunc_sat_f32_u(1e30), u64::MAX);
    assert_eq!(i64_trunc_sat_f64_s(9_223_372_036_854_775_808.0), i64::MAX);
    assert_eq!(i64_trunc_sat_f64_u(f64::NAN), 0);
    assert_eq!(i64_trunc_sat_f64_u(-0.9), 0);
}

#[test]
fn conversions_round_once_to_even() {
    assert_eq!(f32_convert_i32_s(16_777_217), 16_777_216.0);
    assert_eq!(f32_convert_i32_s(16_777_219), 16_777_220.0);
    assert_eq!(f32_convert_i32_u(u32::MAX), 4_294_967_296.0);
    // Rounding through f64 first would give 0x5f00_0000 here.
    assert_eq!(f32_convert_i64_u(0x8000_0080_0000_0001).to_bits(), 0x5f00_0001);
    assert_eq!(f32_convert_i64_s(0x7fff_ff40_0000_0001), 9_223_371_487_098_961_920.0);
    assert_eq!(f32_convert_i64_s(i64::MIN), -9_223_372_036_854_775_808.0);
    assert_eq!(f32_convert_i64_u(u64::MAX), 18_446_744_073_709_551_616.0);
    assert_eq!(f64_convert_i32_u(u32::MAX), 4_294_967_295.0);
    assert_eq!(f64_convert_i32_s(i32::MIN), -2_147_483_648.0);
    assert_eq!(f64_convert_i64_s(9_007_199_254_740_993), 9_007_199_254_740_992.0);
    assert_eq!(f64_convert_i64_u(9_007_199_254_740_995), 9_007_199_254_740_996.0);
    assert_eq!(f32_demote_f64(3.402_823_567_797_336_6e38), f32::INFINITY);
    assert_eq!(f32_demote_f64(3.402_823_567_797_336e38), f32::MAX);
    assert_eq!(f32_demote_f64(-1e-50).to_bits(), 0x8000_0000);
    assert_eq!(f64_promote_f32(1e-45), 1.401_298_464_324_817e-45);
}

#[test]
fn wide_arithmetic_carries() {
    assert_eq!(i64_add128(-1, 0, 1, 0), (0, 1));
    assert_eq!(i64_add128(-1, -1, 1, 0), (0, 0));
    assert_eq!(i64_sub128(0, 0, 1, 0), (-1, -1));
    assert_eq!(i64_sub128(0, 1, 1, 0), (-1, 0));
    assert_eq!(i64_mul_wide_s(-1, -1), (1, 0));
    assert_eq!(i64_mul_wide_s(i64::MIN, i64::MIN), (0, 1 << 62));
    assert_eq!(i64_mul_wide_s(-1, 1), (-1, -1));
    assert_eq!(i64_mul_wide_u(u64::MAX, u64::MAX), (1, u64::MAX - 1));
}
