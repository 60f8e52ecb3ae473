/* Edit distances of n pairs of strings of 300 letters: minima along two rows. */
#include "kernel.h"

#define N 300
static u8 a[N], b[N];
static u32 row[N + 1];

KERNEL i64 run(i32 n) {
    start();
    u64 h = 0;
    for (i32 round = 0; round < n; round++) {
        for (int i = 0; i < N; i++) { a[i] = (next() >> 60) & 7; b[i] = (next() >> 60) & 7; }
        for (u32 j = 0; j <= N; j++) row[j] = j;
        for (u32 i = 1; i <= N; i++) {
            u32 corner = row[0];
            row[0] = i;
            for (u32 j = 1; j <= N; j++) {
                u32 best = corner + (a[i - 1] != b[j - 1]);
                corner = row[j];
                if (row[j] + 1 < best) best = row[j] + 1;
                if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
                row[j] = best;
            }
        }
        h = mix(h, row[N]);
    }
    return h;
}
