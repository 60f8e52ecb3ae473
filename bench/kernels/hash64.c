/* A 64-bit hash in four lanes (multiply, rotate, add) over n times 4 KiB, then FNV-1a by bytes over a part of it. */
#include "kernel.h"

#define P1 0x9e3779b185ebca87u
#define P2 0xc2b2ae3d27d4eb4fu
static u64 data[512];

static inline u64 rot(u64 x, int r) { return x << r | x >> (64 - r); }

KERNEL i64 run(i32 n) {
    start();
    for (int i = 0; i < 512; i++) data[i] = next();
    u64 h = 0;
    for (i32 round = 0; round < n; round++) {
        u64 a = h + P1, b = h + P2, c = h, d = h - P1;
        for (int i = 0; i < 512; i += 4) {
            a = rot(a + data[i] * P2, 31) * P1;
            b = rot(b + data[i + 1] * P2, 31) * P1;
            c = rot(c + data[i + 2] * P2, 31) * P1;
            d = rot(d + data[i + 3] * P2, 31) * P1;
        }
        h = rot(a, 1) + rot(b, 7) + rot(c, 12) + rot(d, 18);
        const u8 *p = (const u8 *)data;
        u64 f = 0xcbf29ce484222325u;
        for (int i = 0; i < 512; i++) f = (f ^ p[i]) * 0x100000001b3u;
        h ^= f;
        data[round & 511] ^= h;
    }
    return h;
}
