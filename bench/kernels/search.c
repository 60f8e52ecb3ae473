/* Finds n patterns of 8 letters in a text of 64 KiB by Horspool's method: skips by a table, compares backwards. */
#include "kernel.h"

#define N 65536
#define M 8
static u8 text[N], pattern[M];
static u32 skip[256];

KERNEL i64 run(i32 n) {
    start();
    for (int i = 0; i < N; i++) text[i] = 'a' + (next() >> 62);
    u64 h = 0;
    for (i32 round = 0; round < n; round++) {
        u32 from = (next() >> 40) % (N - M), found = 0;
        for (int i = 0; i < M; i++) pattern[i] = text[from + i];
        if (round & 1) pattern[round & 7] = 'a' + (next() >> 62);
        for (int i = 0; i < 256; i++) skip[i] = M;
        for (int i = 0; i < M - 1; i++) skip[pattern[i]] = M - 1 - i;
        for (u32 at = 0; at + M <= N; at += skip[text[at + M - 1]]) {
            int k = M - 1;
            while (k >= 0 && text[at + k] == pattern[k]) k--;
            if (k < 0) found++;
        }
        h = mix(h, found);
    }
    return h;
}
