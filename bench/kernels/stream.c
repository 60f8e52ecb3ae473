/* A byte-wise stream cipher of the swap-two-and-add kind over n KiB: byte loads and stores that depend on each other. */
#include "kernel.h"

static u8 s[256], data[1024];

KERNEL i64 run(i32 n) {
    start();
    u8 key[16];
    for (int i = 0; i < 16; i++) key[i] = next() >> 56;
    for (int i = 0; i < 256; i++) s[i] = i;
    for (int i = 0; i < 1024; i++) data[i] = i;
    u8 j = 0, i = 0;
    for (int k = 0; k < 256; k++) { j += s[k] + key[k & 15]; u8 t = s[k]; s[k] = s[j]; s[j] = t; }
    j = 0;
    for (i32 round = 0; round < n; round++)
        for (int k = 0; k < 1024; k++) {
            i++;
            u8 a = s[i];
            j += a;
            u8 b = s[j];
            s[i] = b;
            s[j] = a;
            data[k] ^= s[(u8)(a + b)];
        }
    u64 h = 0;
    for (int k = 0; k < 1024; k++) h = mix(h, data[k]);
    return h;
}
