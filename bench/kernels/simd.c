/* Dot products and a blend over 128-bit vectors of f32 and i16, n rounds of 16 KiB. */
#include "kernel.h"
#include <wasm_simd128.h>

static float a[4096], b[4096];
static int16_t p[8192], q[8192];

KERNEL i64 run(i32 n) {
    start();
    for (int i = 0; i < 4096; i++) { a[i] = (float)(next() >> 48) / 65536.0f; b[i] = (float)(next() >> 48) / 65536.0f; }
    for (int i = 0; i < 8192; i++) { p[i] = next() >> 50; q[i] = next() >> 50; }
    u64 h = 0;
    for (i32 round = 0; round < n; round++) {
        v128_t s = wasm_f32x4_splat(0), t = wasm_i32x4_splat(round);
        for (int i = 0; i < 4096; i += 4) s = wasm_f32x4_add(s, wasm_f32x4_mul(wasm_v128_load(a + i), wasm_v128_load(b + i)));
        for (int i = 0; i < 8192; i += 8) {
            v128_t x = wasm_v128_load(p + i), y = wasm_v128_load(q + i);
            t = wasm_i32x4_add(t, wasm_i32x4_dot_i16x8(wasm_i16x8_max(x, y), wasm_i16x8_sub_sat(x, y)));
            t = wasm_i8x16_shuffle(t, t, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3);
        }
        float f = wasm_f32x4_extract_lane(s, 0) + wasm_f32x4_extract_lane(s, 1) + wasm_f32x4_extract_lane(s, 2) + wasm_f32x4_extract_lane(s, 3);
        h = mix(h, bits(f) ^ (u64)wasm_i64x2_extract_lane(t, 0) ^ (u64)wasm_i64x2_extract_lane(t, 1));
        a[round & 4095] = -a[round & 4095];
        p[round & 8191] ^= 5;
    }
    return h;
}
