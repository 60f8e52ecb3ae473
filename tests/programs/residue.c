/* Looks for what an earlier guest left behind. `residue leave` fills a static array, the heap, the stack,
   a global and grown pages with a canary; `residue seek` scans the same places of a fresh instance for
   anything but zero, and all of its memory for the canary (put together at run time, so that
   the program's own data does not hold it). */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile uint64_t half_a = 0x9e3779b97f4a7c15u, half_b = 0x5bd1e995c2b2ae35u;
static uint64_t room[32768];
uint64_t lonely;

__attribute__((noinline)) static uint64_t use_stack(uint64_t fill, int leave) {
    volatile uint64_t frame[2048];
    uint64_t seen = 0;
    for (int i = 0; i < 2048; i++) { if (leave) frame[i] = fill; else if (frame[i] == fill) seen++; }
    return seen;
}

int main(int argc, char **argv) {
    uint64_t canary = half_a ^ half_b;
    if (argc > 1 && !strcmp(argv[1], "leave")) {
        for (int i = 0; i < 32768; i++) room[i] = canary;
        lonely = canary;
        use_stack(canary, 1);
        uint64_t *heap = malloc(1 << 20);
        if (heap) for (int i = 0; i < 1 << 17; i++) heap[i] = canary;
        size_t old = __builtin_wasm_memory_grow(0, 32);
        if (old != (size_t)-1) {
            uint64_t *p = (uint64_t *)(old << 16);
            for (int i = 0; i < 32 * 8192; i++) p[i] = canary;
        }
        printf("left in static data, heap%s%s\n", heap ? "" : " (refused)", old != (size_t)-1 ? " and 32 new pages" : "");
        return 0;
    }
    unsigned long dirty = 0, found = use_stack(canary, 0);
    for (int i = 0; i < 32768; i++) dirty += room[i] != 0;
    dirty += lonely != 0;
    size_t old = __builtin_wasm_memory_grow(0, 64);
    if (old != (size_t)-1) {
        uint64_t *p = (uint64_t *)(old << 16);
        for (int i = 0; i < 64 * 8192; i++) dirty += p[i] != 0;
    }
    size_t words = __builtin_wasm_memory_size(0) * 8192;
    for (size_t i = 1; i < words; i++) {
        uint64_t *p = (uint64_t *)(i * 8);
        __asm__("" : "+r"(p));
        if (*p == canary && p != &canary) found++;
    }
    printf("%s, %lu words not zero, %lu canaries\n", old != (size_t)-1 ? "grew" : "could not grow", dirty, found);
    return dirty || found;
}
