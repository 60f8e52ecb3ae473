/* n generations of the game of life on a torus of 128 by 128 cells, a byte each. */
#include "kernel.h"

#define N 128
static u8 grid[2][N][N];

KERNEL i64 run(i32 n) {
    start();
    for (int y = 0; y < N; y++) for (int x = 0; x < N; x++) grid[0][y][x] = next() >> 63;
    for (i32 g = 0; g < n; g++) {
        u8(*from)[N] = grid[g & 1], (*to)[N] = grid[~g & 1];
        for (int y = 0; y < N; y++) {
            const u8 *up = from[(y + N - 1) % N], *mid = from[y], *down = from[(y + 1) % N];
            for (int x = 0; x < N; x++) {
                int l = (x + N - 1) % N, r = (x + 1) % N;
                int around = up[l] + up[x] + up[r] + mid[l] + mid[r] + down[l] + down[x] + down[r];
                to[y][x] = around == 3 || (around == 2 && mid[x]);
            }
        }
    }
    u64 h = 0;
    for (int y = 0; y < N; y++) for (int x = 0; x < N; x++) h = mix(h, grid[n & 1][y][x]);
    return h;
}
