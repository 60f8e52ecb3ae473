/* Sorts n numbers (at most a million) by recursive partition: unforeseeable branches. */
#include "kernel.h"

#define MOST 1000000
static i32 v[MOST];

NOINLINE static void sort(i32 low, i32 high) {
    while (low < high) {
        i32 pivot = v[low + (high - low) / 2], i = low, j = high;
        while (i <= j) {
            while (v[i] < pivot) i++;
            while (v[j] > pivot) j--;
            if (i <= j) { i32 t = v[i]; v[i] = v[j]; v[j] = t; i++; j--; }
        }
        if (j - low < high - i) { sort(low, j); low = i; }
        else { sort(i, high); high = j; }
    }
}

KERNEL i64 run(i32 n) {
    start();
    if (n > MOST) n = MOST;
    for (i32 i = 0; i < n; i++) v[i] = (i32)(next() >> 32);
    sort(0, n - 1);
    u64 h = 0;
    for (i32 i = 0; i < n; i++) { if (i && v[i - 1] > v[i]) return -1; h = mix(h, (u32)v[i]); }
    return h;
}
