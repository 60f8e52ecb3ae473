/* n products of 64 by 64 matrices of f64. */
#include "kernel.h"

#define N 64
static double a[N][N], b[N][N], c[N][N];

KERNEL i64 run(i32 n) {
    start();
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i][j] = (double)(next() >> 40) / 16777216.0;
            b[i][j] = (double)(next() >> 40) / 16777216.0 - 0.5;
        }
    for (i32 round = 0; round < n; round++) {
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) {
                double s = 0;
                for (int k = 0; k < N; k++) s += a[i][k] * b[k][j];
                c[i][j] = s;
            }
        for (int i = 0; i < N; i++) a[i][round % N] = c[round % N][i] * 0.25;
    }
    u64 h = 0;
    for (int i = 0; i < N; i++) for (int j = 0; j < N; j++) h = mix(h, bits(c[i][j]));
    return h;
}
