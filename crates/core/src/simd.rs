//! The meaning of every operator on 128-bit vectors, relaxed ones included, as pure functions on [`V128`].
//!
//! A function has the name of its operator with the dots turned into underscores. Everything is written
//! lane by lane, in loops of constant length that the compiler turns into vector instructions of
//! whatever machine it compiles for; there is nothing of a particular machine in here.
//!
//! NaNs: `abs`, `neg`, `pmin` and `pmax` keep every bit of what they choose; `min` and `max`
//! give the canonical NaN; every other operator on floats gives a quiet one, canonical
//! when all NaNs that it was given are.
//!
//! The relaxed operators have one meaning each, on every machine and in every engine: [`relaxed`] says which.
//!
//! This is not where operands are fetched or results stored, nor where lane immediates are checked:
//! a lane that does not exist reads as zero and is not replaced.

mod convert;
mod float;
mod int;
pub mod relaxed;

pub use convert::*;
pub use float::*;
pub use int::*;

/// A vector of 128 bits: its bytes, those of the lowest lane first, as they stand in memory.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
#[repr(transparent)]
pub struct V128(pub [u8; 16]);

impl V128 {
    /// All bits zero.
    pub const ZERO: Self = Self([0; 16]);

    /// From one number, whose low bits are the lowest lane.
    #[inline(always)]
    pub const fn from_u128(bits: u128) -> Self {
        Self(bits.to_le_bytes())
    }

    /// As one number, whose low bits are the lowest lane.
    #[inline(always)]
    pub const fn as_u128(self) -> u128 {
        u128::from_le_bytes(self.0)
    }
}

macro_rules! lanes {
    ($( $shape:ident $from:ident $ty:ty, $count:literal, $bytes:literal; )*) => {
        impl V128 {$(
            #[doc = concat!("The lanes as `", stringify!($ty), "`, the lowest first.")]
            #[inline(always)]
            pub fn $shape(self) -> [$ty; $count] {
                let (lanes, _) = self.0.as_chunks::<$bytes>();
                make(|i| <$ty>::from_le_bytes(lanes[i]))
            }
            #[doc = concat!("From lanes of `", stringify!($ty), "`, the lowest first.")]
            #[inline(always)]
            pub fn $from(lanes: [$ty; $count]) -> Self {
                let mut bytes = [0; 16];
                for (place, lane) in bytes.as_chunks_mut::<$bytes>().0.iter_mut().zip(lanes) {
                    *place = lane.to_le_bytes();
                }
                Self(bytes)
            }
        )*}
    };
}

lanes! {
    i8x16 from_i8x16 i8, 16, 1;
    u8x16 from_u8x16 u8, 16, 1;
    i16x8 from_i16x8 i16, 8, 2;
    u16x8 from_u16x8 u16, 8, 2;
    i32x4 from_i32x4 i32, 4, 4;
    u32x4 from_u32x4 u32, 4, 4;
    i64x2 from_i64x2 i64, 2, 8;
    u64x2 from_u64x2 u64, 2, 8;
    f32x4 from_f32x4 f32, 4, 4;
    f64x2 from_f64x2 f64, 2, 8;
}

/// As many lanes as a vector can have. They are made one by one without a loop or a call: the
/// compiler sees all of them, whatever it thinks of inlining.
trait Make<T> {
    fn make(f: impl Fn(usize) -> T) -> Self;
}

macro_rules! make {
    ($($count:literal: $($i:literal)*;)*) => {$(
        impl<T> Make<T> for [T; $count] {
            #[inline(always)]
            fn make(f: impl Fn(usize) -> T) -> Self {
                [$(f($i)),*]
            }
        }
    )*};
}

make! {
    2: 0 1;
    4: 0 1 2 3;
    8: 0 1 2 3 4 5 6 7;
    16: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15;
}

/// Lanes by their numbers.
#[inline(always)]
fn make<T, M: Make<T>>(f: impl Fn(usize) -> T) -> M {
    M::make(f)
}

/// A function of two lanes, on each pair of them.
#[inline(always)]
fn zip<T: Copy, U, const N: usize>(a: [T; N], b: [T; N], f: impl Fn(T, T) -> U) -> [U; N]
where
    [U; N]: Make<U>,
{
    make(|i| f(a[i], b[i]))
}

/// A function of one lane, on each of them.
#[inline(always)]
fn map<T: Copy, U, const N: usize>(a: [T; N], f: impl Fn(T) -> U) -> [U; N]
where
    [U; N]: Make<U>,
{
    make(|i| f(a[i]))
}

/// Operators that work lane by lane on two vectors: from lanes of one kind to lanes of another.
macro_rules! binary {
    ($( $name:ident $text:literal: $get:ident => $from:ident |$a:ident, $b:ident| $e:expr; )*) => {$(
        #[doc = concat!("`", $text, "`")]
        #[inline(always)]
        pub fn $name(a: V128, b: V128) -> V128 {
            V128::$from(zip(a.$get(), b.$get(), |$a, $b| $e))
        }
    )*};
}
use binary;

/// Operators that work lane by lane on one vector.
macro_rules! unary {
    ($( $name:ident $text:literal: $get:ident => $from:ident |$a:ident| $e:expr; )*) => {$(
        #[doc = concat!("`", $text, "`")]
        #[inline(always)]
        pub fn $name(a: V128) -> V128 {
            V128::$from(map(a.$get(), |$a| $e))
        }
    )*};
}
use unary;

binary! {
    v128_and "v128.and": u64x2 => from_u64x2 |a, b| a & b;
    v128_andnot "v128.andnot": u64x2 => from_u64x2 |a, b| a & !b;
    v128_or "v128.or": u64x2 => from_u64x2 |a, b| a | b;
    v128_xor "v128.xor": u64x2 => from_u64x2 |a, b| a ^ b;
}

unary! {
    v128_not "v128.not": u64x2 => from_u64x2 |a| !a;
}

/// `v128.bitselect`: the bits of `a` where `mask` has a one, those of `b` elsewhere.
#[inline(always)]
pub fn v128_bitselect(a: V128, b: V128, mask: V128) -> V128 {
    let (a, b, mask) = (a.u64x2(), b.u64x2(), mask.u64x2());
    V128::from_u64x2(make(|i| (a[i] & mask[i]) | (b[i] & !mask[i])))
}

/// `v128.any_true`
#[inline(always)]
pub fn v128_any_true(a: V128) -> bool {
    let [low, high] = a.u64x2();
    low | high != 0
}

/// `i8x16.swizzle`: zero where the index is 16 or more.
#[inline(always)]
pub fn i8x16_swizzle(a: V128, indices: V128) -> V128 {
    V128(map(indices.0, |i| if i < 16 { a.0[(i & 15) as usize] } else { 0 }))
}

/// `i8x16.shuffle`: indices from 16 on are of the second vector. Only their low five bits count.
#[inline(always)]
pub fn i8x16_shuffle(a: V128, b: V128, lanes: [u8; 16]) -> V128 {
    V128(map(lanes, |i| {
        let place = (i & 15) as usize;
        if i & 16 == 0 { a.0[place] } else { b.0[place] }
    }))
}

macro_rules! scalars {
    ($( $splat:ident $splat_text:literal, $replace:ident $replace_text:literal,
        $ty:ty, $get:ident $from:ident $count:literal; )*) => {$(
        #[doc = concat!("`", $splat_text, "`")]
        #[inline(always)]
        pub fn $splat(a: $ty) -> V128 {
            V128::$from([a; $count])
        }
        #[doc = concat!("`", $replace_text, "`")]
        #[inline(always)]
        pub fn $replace(a: V128, lane: u8, value: $ty) -> V128 {
            let mut lanes = a.$get();
            if let Some(place) = lanes.get_mut(lane as usize) {
                *place = value;
            }
            V128::$from(lanes)
        }
    )*};
}

scalars! {
    i8x16_splat "i8x16.splat", i8x16_replace_lane "i8x16.replace_lane", i8, i8x16 from_i8x16 16;
    i16x8_splat "i16x8.splat", i16x8_replace_lane "i16x8.replace_lane", i16, i16x8 from_i16x8 8;
    i32x4_splat "i32x4.splat", i32x4_replace_lane "i32x4.replace_lane", i32, i32x4 from_i32x4 4;
    i64x2_splat "i64x2.splat", i64x2_replace_lane "i64x2.replace_lane", i64, i64x2 from_i64x2 2;
    f32x4_splat "f32x4.splat", f32x4_replace_lane "f32x4.replace_lane", f32, f32x4 from_f32x4 4;
    f64x2_splat "f64x2.splat", f64x2_replace_lane "f64x2.replace_lane", f64, f64x2 from_f64x2 2;
}

macro_rules! extracts {
    ($( $extract:ident $text:literal, $ty:ty, $get:ident; )*) => {$(
        #[doc = concat!("`", $text, "`")]
        #[inline(always)]
        pub fn $extract(a: V128, lane: u8) -> $ty {
            a.$get().get(lane as usize).copied().unwrap_or_default().into()
        }
    )*};
}

extracts! {
    i8x16_extract_lane_s "i8x16.extract_lane_s", i32, i8x16;
    i8x16_extract_lane_u "i8x16.extract_lane_u", u32, u8x16;
    i16x8_extract_lane_s "i16x8.extract_lane_s", i32, i16x8;
    i16x8_extract_lane_u "i16x8.extract_lane_u", u32, u16x8;
    i32x4_extract_lane "i32x4.extract_lane", i32, i32x4;
    i64x2_extract_lane "i64x2.extract_lane", i64, i64x2;
    f32x4_extract_lane "f32x4.extract_lane", f32, f32x4;
    f64x2_extract_lane "f64x2.extract_lane", f64, f64x2;
}

#[cfg(test)]
#[path = "simd_tests.rs"]
mod tests;
