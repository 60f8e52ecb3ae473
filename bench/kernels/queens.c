/* The number of ways to place n queens: backtracking with masks. */
#include "kernel.h"

NOINLINE static u32 place(u32 all, u32 columns, u32 left, u32 right) {
    if (columns == all) return 1;
    u32 count = 0, open = all & ~(columns | left | right);
    while (open) {
        u32 bit = open & -open;
        open ^= bit;
        count += place(all, columns | bit, (left | bit) << 1, (right | bit) >> 1);
    }
    return count;
}

KERNEL i64 run(i32 n) { return place((1u << n) - 1, 0, 0, 0); }
