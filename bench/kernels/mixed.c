/* The usual mixture of a small processor's benchmark, n rounds of it: sort a list by two keys, multiply small
   integer matrices, run a state machine over text with numbers, and a checksum over all. */
#include "kernel.h"

#define NODES 64
#define M 12
static struct item { struct item *next; i32 key, place; } items[NODES];
static i32 a[M][M], b[M][M], c[M][M];
static const char text[] = "5012,0x3f,-874.2,+122,1e5,1.5e-3,T0.3,-110.1,--7,0xyz,.5,+.9e+2,12a,,1..2,-0,7e,3E10,";

static u32 crc(u32 v, u32 h) {
    for (int i = 0; i < 16; i++, v >>= 1) h = ((h ^ v) & 1) ? h >> 1 ^ 0xa001 : h >> 1;
    return h;
}

NOINLINE static struct item *merge(struct item *x, struct item *y, int by_place) {
    struct item head, *at = &head;
    while (x && y) {
        int first = by_place ? x->place <= y->place : x->key <= y->key;
        if (first) { at->next = x; x = x->next; } else { at->next = y; y = y->next; }
        at = at->next;
    }
    at->next = x ? x : y;
    return head.next;
}

NOINLINE static struct item *sort(struct item *list, int by_place) {
    if (!list || !list->next) return list;
    struct item *slow = list, *fast = list->next;
    while (fast && fast->next) { slow = slow->next; fast = fast->next->next; }
    struct item *second = slow->next;
    slow->next = NULL;
    return merge(sort(list, by_place), sort(second, by_place), by_place);
}

NOINLINE static u32 matrices(i32 seed) {
    for (int i = 0; i < M; i++)
        for (int j = 0; j < M; j++) { a[i][j] = (seed + i * j) % 97; b[i][j] = (seed ^ (i + j * 3)) % 61; }
    u32 h = 0;
    for (int i = 0; i < M; i++)
        for (int j = 0; j < M; j++) {
            i32 s = 0;
            for (int k = 0; k < M; k++) s += a[i][k] * b[k][j];
            c[i][j] = s >> 2;
            h += (s >> 3 & 15) * (s >> 5 & 127);
        }
    return h;
}

enum state { START, SIGN, WHOLE, POINT, FRACTION, EXPONENT, EXPONENT_SIGN, POWER, HEX, BAD, STATES };

NOINLINE static u32 machine(u32 seed) {
    u32 ends[STATES] = {0}, steps = 0;
    enum state s = START;
    for (const char *p = text; *p; p++) {
        char ch = *p;
        if (ch >= '0' && ch <= '9') ch = '0' + (ch - '0' + seed) % 10;
        steps++;
        if (ch == ',') { ends[s]++; s = START; continue; }
        int digit = ch >= '0' && ch <= '9';
        switch (s) {
        case START: s = digit ? WHOLE : ch == '+' || ch == '-' ? SIGN : ch == '.' ? POINT : BAD; break;
        case SIGN: s = digit ? WHOLE : ch == '.' ? POINT : BAD; break;
        case WHOLE: s = digit ? WHOLE : ch == '.' ? POINT : ch == 'e' || ch == 'E' ? EXPONENT : ch == 'x' ? HEX : BAD; break;
        case POINT: case FRACTION: s = digit ? FRACTION : s == FRACTION && (ch == 'e' || ch == 'E') ? EXPONENT : BAD; break;
        case EXPONENT: s = digit ? POWER : ch == '+' || ch == '-' ? EXPONENT_SIGN : BAD; break;
        case EXPONENT_SIGN: case POWER: s = digit ? POWER : BAD; break;
        case HEX: s = digit || (ch >= 'a' && ch <= 'f') ? HEX : BAD; break;
        default: break;
        }
    }
    u32 h = steps;
    for (int i = 0; i < STATES; i++) h = h * 31 + ends[i];
    return h;
}

KERNEL i64 run(i32 n) {
    start();
    u32 h = 0xffff;
    u64 all = 0;
    for (i32 round = 0; round < n; round++) {
        for (int i = 0; i < NODES; i++) items[i] = (struct item){i + 1 < NODES ? &items[i + 1] : NULL, (i32)(next() >> 40), i};
        struct item *list = sort(items, 0);
        for (struct item *p = list; p; p = p->next) h = crc((u32)p->key & 0xffff, h);
        list = sort(list, 1);
        h = crc((u32)list->next->place, h);
        u32 m = matrices(round & 1023), t = machine(round);
        h = crc(m & 0xffff, h);
        h = crc(t & 0xffff, h);
        all = mix(all, (u64)h << 32 | (m ^ t));
    }
    return all;
}
