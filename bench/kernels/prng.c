/* n numbers from a 64-bit generator, with remainders, divisions and counts of bits: i64 arithmetic alone. */
#include "kernel.h"

KERNEL i64 run(i32 n) {
    u64 x = 88172645463325252u, lcg = 1, sum = 0;
    for (i32 i = 0; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        lcg = lcg * 6364136223846793005u + 1442695040888963407u;
        u64 d = (lcg >> 40) | 1;
        sum += x % d + x / (d + 2) + (u64)__builtin_popcountll(x) + (u64)__builtin_clzll(lcg | 1);
        if ((i64)x < (i64)lcg) sum ^= x >> 5;
    }
    return sum;
}
