/* Ackermann's function of 2 and n, n times: deep recursion (some 2n + 3 calls). */
#include "kernel.h"

NOINLINE static u32 ack(u32 m, u32 n) {
    if (m == 0) return n + 1;
    if (n == 0) { u32 r = ack(m - 1, 1); return r; }
    return ack(m - 1, ack(m, n - 1));
}

KERNEL i64 run(i32 n) {
    u64 h = 0;
    for (i32 i = 0; i < n; i++) h = mix(h, ack(2, i % 200));
    return h;
}
