/* Sorts n numbers (at most a million) of i64 by a heap: jumps through memory. */
#include "kernel.h"

#define MOST 1000000
static i64 v[MOST];

static void sift(i32 at, i32 n) {
    i64 x = v[at];
    for (;;) {
        i32 child = 2 * at + 1;
        if (child >= n) break;
        if (child + 1 < n && v[child + 1] > v[child]) child++;
        if (v[child] <= x) break;
        v[at] = v[child];
        at = child;
    }
    v[at] = x;
}

KERNEL i64 run(i32 n) {
    start();
    if (n > MOST) n = MOST;
    for (i32 i = 0; i < n; i++) v[i] = (i64)next();
    for (i32 i = n / 2 - 1; i >= 0; i--) sift(i, n);
    for (i32 i = n - 1; i > 0; i--) { i64 t = v[0]; v[0] = v[i]; v[i] = t; sift(0, i); }
    u64 h = 0;
    for (i32 i = 0; i < n; i++) { if (i && v[i - 1] > v[i]) return -1; h = mix(h, v[i]); }
    return h;
}
