/* n products of 64 by 64 matrices of f32, rows in the inner loop. */
#include "kernel.h"

#define N 64
static float a[N][N], b[N][N], c[N][N];

KERNEL i64 run(i32 n) {
    start();
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i][j] = (float)(next() >> 48) / 65536.0f;
            b[i][j] = (float)(next() >> 48) / 65536.0f - 0.5f;
        }
    for (i32 round = 0; round < n; round++) {
        for (int i = 0; i < N; i++) {
            for (int j = 0; j < N; j++) c[i][j] = 0;
            for (int k = 0; k < N; k++) {
                float x = a[i][k];
                for (int j = 0; j < N; j++) c[i][j] += x * b[k][j];
            }
        }
        for (int i = 0; i < N; i++) a[i][round % N] = c[round % N][i] * 0.25f;
    }
    u64 h = 0;
    for (int i = 0; i < N; i++) for (int j = 0; j < N; j++) h = mix(h, bits(c[i][j]));
    return h;
}
