/* Calls through a table of 16 functions of the same type, in an order that is hard to foresee (call_indirect). */
#include "kernel.h"

#define F(name, expression) NOINLINE static u32 name(u32 a, u32 b) { return expression; }
F(f0, a + b) F(f1, a - b) F(f2, a ^ b) F(f3, a * (b | 1)) F(f4, a << (b & 7)) F(f5, a >> (b & 3) | b)
F(f6, a & ~b) F(f7, a | b << 16) F(f8, a + 7 + (b >> 31)) F(f9, b - a)
F(f10, ~a ^ b) F(f11, a * 9 + b)
F(f12, (a << 13 | a >> 19) + b) F(f13, a < b ? a : b + 1) F(f14, a > b ? a - b : b) F(f15, a ^ a >> 7 ^ b << 3)

static u32 (*const table[16])(u32, u32) = {f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15};

KERNEL i64 run(i32 n) {
    u32 a = 1, b = 2, lcg = 12345;
    for (i32 i = 0; i < n; i++) {
        lcg = lcg * 1664525u + 1013904223u;
        u32 r = table[lcg >> 28](a, b);
        a = b;
        b = r + i;
    }
    return (i64)((u64)a << 32 | b);
}
