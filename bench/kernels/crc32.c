/* CRC-32 of n KiB by table: byte loads, a table lookup in a chain. */
#include "kernel.h"

static u32 table[256];
static u8 data[16384];

KERNEL i64 run(i32 n) {
    start();
    for (u32 i = 0; i < 256; i++) {
        u32 c = i;
        for (int k = 0; k < 8; k++) c = c & 1 ? 0xedb88320u ^ c >> 1 : c >> 1;
        table[i] = c;
    }
    for (u32 i = 0; i < sizeof data; i++) data[i] = next() >> 56;
    u32 crc = ~0u;
    for (i32 k = 0; k < n; k++) {
        const u8 *p = data + (k & 15) * 1024;
        for (int i = 0; i < 1024; i++) crc = table[(crc ^ p[i]) & 255] ^ crc >> 8;
    }
    return ~crc;
}
