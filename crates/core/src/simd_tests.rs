//! The vector operators against plain definitions, on values that tend to go wrong.
//!
//! What each operator means in general is for the specification's scripts to test; here are
//! those that are written in a roundabout way, and the edges of the relaxed ones.

use super::relaxed::*;
use super::*;
use crate::num;

/// Vectors made of bytes that matter, in changing company.
fn vectors() -> Vec<V128> {
    const BYTES: [u8; 10] = [0, 1, 0x7f, 0x80, 0x81, 0xff, 0xfe, 0x55, 16, 15];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut all = vec![V128::ZERO, V128([0xff; 16])];
    for i in 0..16 {
        for byte in BYTES {
            let mut one = V128::ZERO;
            one.0[i] = byte;
            all.extend([one, v128_not(one)]);
        }
    }
    for _ in 0..500 {
        all.push(V128(std::array::from_fn(|_| BYTES[next() as usize % BYTES.len()])));
        all.push(V128::from_u64x2([next(), next()]));
    }
    all
}

#[test]
fn bytes_and_numbers_have_one_order() {
    let vector = V128::from_u8x16(std::array::from_fn(|i| i as u8));
    assert_eq!(vector.as_u128(), 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100);
    assert_eq!(V128::from_u128(vector.as_u128()), vector);
    assert_eq!(vector.u32x4()[1], 0x0706_0504);
    assert_eq!(vector.u64x2()[0], 0x0706_0504_0302_0100);
}

#[test]
fn masks_and_tests_of_lanes() {
    for v in vectors() {
        let bits =
            |lanes: &[bool]| lanes.iter().rev().fold(0, |mask, &lane| mask << 1 | lane as u32);
        assert_eq!(i8x16_bitmask(v), bits(&v.i8x16().map(|x| x < 0)), "{v:x?}");
        assert_eq!(i16x8_bitmask(v), bits(&v.i16x8().map(|x| x < 0)), "{v:x?}");
        assert_eq!(i32x4_bitmask(v), bits(&v.i32x4().map(|x| x < 0)), "{v:x?}");
        assert_eq!(i64x2_bitmask(v), bits(&v.i64x2().map(|x| x < 0)), "{v:x?}");
        assert_eq!(i8x16_all_true(v), v.i8x16().iter().all(|&x| x != 0), "{v:x?}");
        assert_eq!(i16x8_all_true(v), v.i16x8().iter().all(|&x| x != 0), "{v:x?}");
        assert_eq!(i32x4_all_true(v), v.i32x4().iter().all(|&x| x != 0), "{v:x?}");
        assert_eq!(i64x2_all_true(v), v.i64x2().iter().all(|&x| x != 0), "{v:x?}");
        assert_eq!(v128_any_true(v), v.as_u128() != 0);
        let ones = i8x16_popcnt(v).u8x16();
        assert_eq!(ones, v.u8x16().map(|x| x.count_ones() as u8));
    }
}

#[test]
fn swizzles_and_shuffles() {
    let all = vectors();
    for (i, &a) in all.iter().enumerate() {
        let b = all[all.len() - 1 - i];
        let picked = i8x16_swizzle(a, b).0;
        let shuffled = i8x16_shuffle(a, v128_not(a), b.0.map(|lane| lane & 31)).0;
        for lane in 0..16 {
            let index = b.0[lane] as usize;
            assert_eq!(picked[lane], a.0.get(index).copied().unwrap_or(0));
            let both = [a.0, v128_not(a).0].concat();
            assert_eq!(shuffled[lane], both[index & 31]);
        }
        assert_eq!(i8x16_relaxed_swizzle(a, b), i8x16_swizzle(a, b));
    }
}

#[test]
fn extremes_of_floats() {
    let values = [
        0.0,
        -0.0,
        1.0,
        -1.5,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MIN_POSITIVE,
        f32::from_bits(1),
        f32::NAN,
        -f32::NAN,
        f32::from_bits(0x7fa0_0001),
        f32::from_bits(0xffff_ffff),
    ];
    for a in values {
        for b in values {
            let (va, vb) = (f32x4_splat(a), f32x4_splat(b));
            let check = |found: V128, expected: f32| {
                let found = f32x4_extract_lane(found, 3);
                if expected.is_nan() {
                    assert_eq!(found.to_bits() & 0x7fff_ffff, 0x7fc0_0000, "{a} {b}");
                } else {
                    assert_eq!(found.to_bits(), expected.to_bits(), "{a} {b}");
                }
            };
            check(f32x4_min(va, vb), num::f32_min(a, b));
            check(f32x4_max(va, vb), num::f32_max(a, b));
            check(f32x4_relaxed_min(va, vb), num::f32_min(a, b));
            check(f32x4_relaxed_max(va, vb), num::f32_max(a, b));
            // These choose one operand and keep its bits.
            let chosen = f32x4_extract_lane(f32x4_pmin(va, vb), 0).to_bits();
            assert_eq!(chosen, if b < a { b } else { a }.to_bits());
            let chosen = f32x4_extract_lane(f32x4_pmax(va, vb), 0).to_bits();
            assert_eq!(chosen, if a < b { b } else { a }.to_bits());

            let (a, b) = (f64::from(a), f64::from(b));
            let (va, vb) = (f64x2_splat(a), f64x2_splat(b));
            for (found, expected) in
                [(f64x2_min(va, vb), num::f64_min(a, b)), (f64x2_max(va, vb), num::f64_max(a, b))]
            {
                let found = f64x2_extract_lane(found, 1);
                assert_eq!(found.is_nan(), expected.is_nan(), "{a} {b}");
                assert!(found.is_nan() || found.to_bits() == expected.to_bits(), "{a} {b}");
            }
        }
    }
}

#[test]
fn shift_counts_wrap_at_the_width_of_a_lane() {
    let v = V128::from_u64x2([0x8000_0000_8000_8080, 0x0102_0304_0506_0708]);
    for count in [0, 1, 7, 8, 15, 16, 31, 32, 63, 64, 65, u32::MAX] {
        assert_eq!(i8x16_shr_s(v, count).i8x16(), v.i8x16().map(|x| x >> (count % 8)));
        assert_eq!(i16x8_shr_u(v, count).u16x8(), v.u16x8().map(|x| x >> (count % 16)));
        assert_eq!(i32x4_shl(v, count).u32x4(), v.u32x4().map(|x| x << (count % 32)));
        assert_eq!(i64x2_shr_s(v, count).i64x2(), v.i64x2().map(|x| x >> (count % 64)));
    }
}

#[test]
fn products_at_the_edge() {
    let lowest = i16x8_splat(i16::MIN);
    assert_eq!(i16x8_q15mulr_sat_s(lowest, lowest), i16x8_splat(i16::MAX));
    assert_eq!(i16x8_relaxed_q15mulr_s(lowest, lowest), i16x8_splat(i16::MAX));
    assert_eq!(i32x4_dot_i16x8_s(lowest, lowest), i32x4_splat(i32::MIN));
    let lowest = i8x16_splat(i8::MIN);
    assert_eq!(i16x8_relaxed_dot_i8x16_i7x16_s(lowest, lowest), i16x8_splat(i16::MIN));
    assert_eq!(
        i32x4_relaxed_dot_i8x16_i7x16_add_s(lowest, lowest, i32x4_splat(-1)),
        i32x4_splat(-0x1_0001)
    );
}

#[test]
fn multiplication_and_addition_are_not_fused() {
    // The product is 1 + 2^-11 + 2^-24, which has no room in 24 bits.
    let a = f32x4_splat(1.0 + f32::EPSILON * 2048.0);
    let c = f32x4_splat(-(1.0 + f32::EPSILON * 4096.0));
    assert_eq!(f32x4_relaxed_madd(a, a, c), V128::ZERO);
    let a = f64x2_splat(1.0 + f64::EPSILON * f64::from(1 << 25));
    let c = f64x2_splat(1.0 + f64::EPSILON * f64::from(1 << 26));
    assert_eq!(f64x2_extract_lane(f64x2_relaxed_nmadd(a, a, c), 0), 0.0);
}

#[test]
fn conversions_saturate() {
    let v = V128::from_f32x4([f32::NAN, 3e9, -3e9, 5e9]);
    assert_eq!(i32x4_trunc_sat_f32x4_s(v).i32x4(), [0, i32::MAX, i32::MIN, i32::MAX]);
    assert_eq!(i32x4_relaxed_trunc_f32x4_u(v).u32x4(), [0, 3_000_000_000, 0, u32::MAX]);
    let v = V128::from_f64x2([f64::NAN, -1e10]);
    assert_eq!(i32x4_relaxed_trunc_f64x2_s_zero(v).i32x4(), [0, i32::MIN, 0, 0]);
    assert_eq!(i32x4_trunc_sat_f64x2_u_zero(v).u32x4(), [0, 0, 0, 0]);
}

#[test]
fn lanes_that_do_not_exist() {
    let v = V128([0xff; 16]);
    assert_eq!(i8x16_extract_lane_s(v, 16), 0);
    assert_eq!(i64x2_replace_lane(v, 2, 0), v);
}
