//! Conversions between integer and floating-point lanes, and what loads make out of few bytes.

use super::{V128, map, unary};

unary! {
    f32x4_convert_i32x4_s "f32x4.convert_i32x4_s": i32x4 => from_f32x4 |a| a as f32;
    f32x4_convert_i32x4_u "f32x4.convert_i32x4_u": u32x4 => from_f32x4 |a| a as f32;
    i32x4_trunc_sat_f32x4_s "i32x4.trunc_sat_f32x4_s": f32x4 => from_i32x4 |a| a as i32;
    i32x4_trunc_sat_f32x4_u "i32x4.trunc_sat_f32x4_u": f32x4 => from_u32x4 |a| a as u32;
}

/// `i32x4.trunc_sat_f64x2_s_zero`
#[inline(always)]
pub fn i32x4_trunc_sat_f64x2_s_zero(a: V128) -> V128 {
    let [x, y] = a.f64x2();
    V128::from_i32x4([x as i32, y as i32, 0, 0])
}

/// `i32x4.trunc_sat_f64x2_u_zero`
#[inline(always)]
pub fn i32x4_trunc_sat_f64x2_u_zero(a: V128) -> V128 {
    let [x, y] = a.f64x2();
    V128::from_u32x4([x as u32, y as u32, 0, 0])
}

/// `f64x2.convert_low_i32x4_s`
#[inline(always)]
pub fn f64x2_convert_low_i32x4_s(a: V128) -> V128 {
    let [x, y, ..] = a.i32x4();
    V128::from_f64x2([f64::from(x), f64::from(y)])
}

/// `f64x2.convert_low_i32x4_u`
#[inline(always)]
pub fn f64x2_convert_low_i32x4_u(a: V128) -> V128 {
    let [x, y, ..] = a.u32x4();
    V128::from_f64x2([f64::from(x), f64::from(y)])
}

/// `f32x4.demote_f64x2_zero`
#[inline(always)]
pub fn f32x4_demote_f64x2_zero(a: V128) -> V128 {
    let [x, y] = a.f64x2();
    V128::from_f32x4([x as f32, y as f32, 0.0, 0.0])
}

/// `f64x2.promote_low_f32x4`
#[inline(always)]
pub fn f64x2_promote_low_f32x4(a: V128) -> V128 {
    let [x, y, ..] = a.f32x4();
    V128::from_f64x2([f64::from(x), f64::from(y)])
}

macro_rules! extending {
    ($( $name:ident $text:literal $extend:ident; )*) => {$(
        #[doc = concat!("What `", $text, "` makes of the eight bytes that it loads.")]
        #[inline(always)]
        pub fn $name(loaded: u64) -> V128 {
            super::$extend(V128::from_u64x2([loaded, 0]))
        }
    )*};
}

extending! {
    v128_load8x8_s "v128.load8x8_s" i16x8_extend_low_i8x16_s;
    v128_load8x8_u "v128.load8x8_u" i16x8_extend_low_i8x16_u;
    v128_load16x4_s "v128.load16x4_s" i32x4_extend_low_i16x8_s;
    v128_load16x4_u "v128.load16x4_u" i32x4_extend_low_i16x8_u;
    v128_load32x2_s "v128.load32x2_s" i64x2_extend_low_i32x4_s;
    v128_load32x2_u "v128.load32x2_u" i64x2_extend_low_i32x4_u;
}
