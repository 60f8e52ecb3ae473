//! Vector operators on x86-64 processors with AVX, where the compiler makes too little of the common function.
//!
//! Each means the same as the function of its name in `palisade_core::simd`. To be inlined
//! into handlers that were compiled for these processors ([`crate::state::VecHandler`]), and nowhere else.

use std::arch::x86_64::*;

use palisade_core::simd::V128;

#[inline(always)]
fn load(a: V128) -> __m128i {
    // SAFETY: both types are 16 bytes that may have any value.
    unsafe { std::mem::transmute(a) }
}

#[inline(always)]
fn store(a: __m128i) -> V128 {
    // SAFETY: both types are 16 bytes that may have any value.
    unsafe { std::mem::transmute(a) }
}

/// Declares functions that need the features of [`crate::state::tail_wide`].
macro_rules! functions {
    ($( fn $name:ident($($arg:ident : $ty:ty),*) -> $out:ty $body:block )*) => {$(
        /// # Safety
        ///
        /// The processor has the features of [`crate::state::tail_wide`].
        #[inline(always)]
        pub(super) unsafe fn $name($($arg: $ty),*) -> $out {
            // SAFETY: the caller says so.
            unsafe { $body }
        }
    )*};
}

functions! {
    fn v128_any_true(a: V128) -> bool {
        _mm_testz_si128(load(a), load(a)) == 0
    }
    fn i8x16_all_true(a: V128) -> bool {
        let zeros = _mm_cmpeq_epi8(load(a), _mm_setzero_si128());
        _mm_testz_si128(zeros, zeros) != 0
    }
    fn i16x8_all_true(a: V128) -> bool {
        let zeros = _mm_cmpeq_epi16(load(a), _mm_setzero_si128());
        _mm_testz_si128(zeros, zeros) != 0
    }
    fn i32x4_all_true(a: V128) -> bool {
        let zeros = _mm_cmpeq_epi32(load(a), _mm_setzero_si128());
        _mm_testz_si128(zeros, zeros) != 0
    }
    fn i8x16_bitmask(a: V128) -> u32 {
        _mm_movemask_epi8(load(a)) as u32
    }
    fn i16x8_bitmask(a: V128) -> u32 {
        _mm_movemask_epi8(_mm_packs_epi16(load(a), _mm_setzero_si128())) as u32
    }
    fn i32x4_bitmask(a: V128) -> u32 {
        _mm_movemask_ps(_mm_castsi128_ps(load(a))) as u32
    }
    fn i64x2_bitmask(a: V128) -> u32 {
        _mm_movemask_pd(_mm_castsi128_pd(load(a))) as u32
    }
    fn i8x16_swizzle(a: V128, indices: V128) -> V128 {
        // From 16 on, the addition sets the highest bit, which makes the lane zero; below, the low
        // four bits stay.
        store(_mm_shuffle_epi8(load(a), _mm_adds_epu8(load(indices), _mm_set1_epi8(0x70))))
    }
    fn i8x16_shuffle(a: V128, b: V128, lanes: V128) -> V128 {
        let lanes = load(lanes);
        let low = _mm_shuffle_epi8(load(a), _mm_add_epi8(lanes, _mm_set1_epi8(0x70)));
        let high = _mm_shuffle_epi8(load(b), _mm_sub_epi8(lanes, _mm_set1_epi8(16)));
        store(_mm_or_si128(low, high))
    }
    fn f32x4_ceil(a: V128) -> V128 {
        store(_mm_castps_si128(_mm_ceil_ps(_mm_castsi128_ps(load(a)))))
    }
    fn f32x4_floor(a: V128) -> V128 {
        store(_mm_castps_si128(_mm_floor_ps(_mm_castsi128_ps(load(a)))))
    }
    fn f32x4_trunc(a: V128) -> V128 {
        let a = _mm_castsi128_ps(load(a));
        store(_mm_castps_si128(_mm_round_ps::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(a)))
    }
    fn f32x4_nearest(a: V128) -> V128 {
        let a = _mm_castsi128_ps(load(a));
        store(_mm_castps_si128(_mm_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a)))
    }
    fn f64x2_ceil(a: V128) -> V128 {
        store(_mm_castpd_si128(_mm_ceil_pd(_mm_castsi128_pd(load(a)))))
    }
    fn f64x2_floor(a: V128) -> V128 {
        store(_mm_castpd_si128(_mm_floor_pd(_mm_castsi128_pd(load(a)))))
    }
    fn f64x2_trunc(a: V128) -> V128 {
        let a = _mm_castsi128_pd(load(a));
        store(_mm_castpd_si128(_mm_round_pd::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(a)))
    }
    fn f64x2_nearest(a: V128) -> V128 {
        let a = _mm_castsi128_pd(load(a));
        store(_mm_castpd_si128(_mm_round_pd::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a)))
    }
    fn i32x4_trunc_sat_f32x4_s(a: V128) -> V128 {
        let a = _mm_castsi128_ps(load(a));
        // NaN becomes zero. What does not fit is converted to the lowest number, whose bits are
        // turned round where it was too large.
        let a = _mm_and_ps(a, _mm_cmpeq_ps(a, a));
        let large = _mm_castps_si128(_mm_cmpge_ps(a, _mm_set1_ps(2_147_483_648.0)));
        store(_mm_xor_si128(_mm_cvttps_epi32(a), large))
    }
    fn i32x4_trunc_sat_f32x4_u(a: V128) -> V128 {
        // NaN and what is negative become zero.
        let a = _mm_max_ps(_mm_castsi128_ps(load(a)), _mm_setzero_ps());
        // What is above 2^31 counts from there; from 2^32 on that saturates, too.
        let half = _mm_set1_ps(2_147_483_648.0);
        let above = _mm_sub_ps(a, half);
        let large = _mm_castps_si128(_mm_cmpge_ps(above, half));
        let above = _mm_xor_si128(_mm_cvttps_epi32(above), large);
        let above = _mm_max_epi32(above, _mm_setzero_si128());
        store(_mm_add_epi32(_mm_cvttps_epi32(a), above))
    }
}
