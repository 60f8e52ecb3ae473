/* SHA-256 of n KiB: 32-bit rotations and additions. The constants are computed, not copied:
   the first 32 bits of the fractions of cube and square roots of the first primes. */
#include "kernel.h"

static u32 k[64], initial[8], state[8];
static u8 block[64];

/* The first 32 bits of the fraction of p's square or cube root, by bisection: 53 bits are plenty. */
static u32 fraction(u32 p, int root) {
    double low = 1, high = 20;
    for (int i = 0; i < 60; i++) {
        double mid = (low + high) / 2, power = root == 2 ? mid * mid : mid * mid * mid;
        if (power <= p) low = mid; else high = mid;
    }
    return (u32)(u64)(low * 4294967296.0);
}

static void constants(void) {
    int n = 0;
    for (u32 p = 2; n < 64; p++) {
        int prime = 1;
        for (u32 d = 2; d * d <= p; d++) if (p % d == 0) prime = 0;
        if (!prime) continue;
        if (n < 8) initial[n] = fraction(p, 2);
        k[n++] = fraction(p, 3);
    }
}

#define ROT(x, r) ((x) >> (r) | (x) << (32 - (r)))

NOINLINE static void compress(void) {
    u32 w[64], s[8];
    for (int i = 0; i < 16; i++)
        w[i] = (u32)block[4 * i] << 24 | (u32)block[4 * i + 1] << 16 | (u32)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 64; i++)
        w[i] = w[i - 16] + w[i - 7] + (ROT(w[i - 15], 7) ^ ROT(w[i - 15], 18) ^ w[i - 15] >> 3) +
               (ROT(w[i - 2], 17) ^ ROT(w[i - 2], 19) ^ w[i - 2] >> 10);
    for (int i = 0; i < 8; i++) s[i] = state[i];
    for (int i = 0; i < 64; i++) {
        u32 t1 = s[7] + (ROT(s[4], 6) ^ ROT(s[4], 11) ^ ROT(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) + k[i] + w[i];
        u32 t2 = (ROT(s[0], 2) ^ ROT(s[0], 13) ^ ROT(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        for (int j = 7; j > 0; j--) s[j] = s[j - 1];
        s[4] += t1;
        s[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) state[i] += s[i];
}

/* n = 0 gives the digest of the empty message: e3b0c44298fc1c14... */
KERNEL i64 run(i32 n) {
    constants();
    for (int i = 0; i < 8; i++) state[i] = initial[i];
    for (i32 b = 0; b < n * 16; b++) {
        for (int i = 0; i < 64; i++) block[i] = b * 7 + i;
        compress();
    }
    u64 length = (u64)n * 1024 * 8;
    for (int i = 0; i < 64; i++) block[i] = i == 0 ? 0x80 : i < 56 ? 0 : length >> (8 * (63 - i));
    compress();
    return (i64)((u64)state[0] << 32 | state[1]);
}
