/* memory.copy and memory.fill of sizes from 1 byte to 64 KiB, n rounds, overlapping ones among them. */
#include "kernel.h"

#define SIZE (1 << 18)
static u8 room[SIZE];

KERNEL i64 run(i32 n) {
    start();
    for (int i = 0; i < SIZE; i++) room[i] = next() >> 56;
    u64 h = 0;
    for (i32 round = 0; round < n; round++) {
        u64 r = next();
        u32 size = (u32)(r >> 48) >> (r & 15), from = (u32)(r >> 16) % (SIZE - 65536), to = (u32)(r >> 24) % (SIZE - 65536);
        __builtin_memmove(room + to, room + from, size);
        __builtin_memset(room + from, (int)(r & 255), size / 16);
        h = mix(h, (u64)room[to + size / 2] << 8 | room[from]);
    }
    return h;
}
