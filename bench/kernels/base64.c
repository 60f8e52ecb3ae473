/* Encodes and decodes 3 KiB n times: bytes through small tables, shifts and masks. */
#include "kernel.h"

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static u8 plain[3072], back[3072], coded[4096], value[256];

KERNEL i64 run(i32 n) {
    start();
    for (int i = 0; i < 64; i++) value[(u8)letters[i]] = i;
    for (u32 i = 0; i < sizeof plain; i++) plain[i] = next() >> 56;
    u64 h = 0;
    for (i32 round = 0; round < n; round++) {
        u8 *to = coded;
        for (const u8 *p = plain; p < plain + sizeof plain; p += 3) {
            u32 v = (u32)p[0] << 16 | (u32)p[1] << 8 | p[2];
            *to++ = letters[v >> 18];
            *to++ = letters[v >> 12 & 63];
            *to++ = letters[v >> 6 & 63];
            *to++ = letters[v & 63];
        }
        u8 *out = back;
        for (const u8 *p = coded; p < coded + sizeof coded; p += 4) {
            u32 v = (u32)value[p[0]] << 18 | (u32)value[p[1]] << 12 | (u32)value[p[2]] << 6 | value[p[3]];
            *out++ = v >> 16;
            *out++ = v >> 8;
            *out++ = v;
        }
        for (u32 i = 0; i < sizeof plain; i += 64) { if (back[i] != plain[i]) return -1; h = mix(h, coded[i]); }
        plain[round % sizeof plain] ^= round;
    }
    return h;
}
