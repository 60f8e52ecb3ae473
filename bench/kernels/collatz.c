/* The longest Collatz chain that starts below n: a loop of a few instructions, with a branch nobody can foresee. */
#include "kernel.h"

KERNEL i64 run(i32 n) {
    u64 best = 0, where = 0;
    for (u64 i = 1; i < (u64)n; i++) {
        u64 x = i, steps = 0;
        while (x != 1) { x = x & 1 ? 3 * x + 1 : x >> 1; steps++; }
        if (steps > best) { best = steps; where = i; }
    }
    return best << 32 | where;
}
