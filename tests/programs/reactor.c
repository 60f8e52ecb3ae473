/* A reactor: no `_start`, but `_initialize`, to be called once, and functions called afterwards.
   State lives in the instance, so calls see what earlier calls left and another instance does not. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT(name) __attribute__((export_name(name)))

static int initialized;
static int64_t stack[256];
static uint32_t height;
static uint32_t calls;

__attribute__((constructor)) static void initialize(void) { initialized += 1; }

/* 1 after exactly one call of `_initialize`. */
EXPORT("initialized") int32_t is_initialized(void) { return initialized; }

EXPORT("add") int32_t add(int32_t a, int32_t b) { calls++; return (int32_t)((uint32_t)a + (uint32_t)b); }
EXPORT("mean") double mean(double a, double b) { calls++; return (a + b) / 2; }
EXPORT("half") float half(float a) { calls++; return a * 0.5f; }
EXPORT("calls") uint32_t call_count(void) { return calls; }

/* A stack of 256 numbers; pushing more or popping from empty traps. */
EXPORT("push") uint32_t push(int64_t v) {
    if (height == 256) __builtin_trap();
    stack[height++] = v;
    return height;
}
EXPORT("pop") int64_t pop(void) {
    if (!height) __builtin_trap();
    return stack[--height];
}
EXPORT("height") uint32_t get_height(void) { return height; }

/* The host writes a text at `reserve(n)` and asks for its checksum, or has it reversed in place. */
EXPORT("reserve") void *reserve(uint32_t n) { return malloc(n); }
EXPORT("release") void release(void *p) { free(p); }
EXPORT("checksum") uint32_t checksum(const unsigned char *p, uint32_t n) {
    uint32_t h = 2166136261u;
    for (uint32_t i = 0; i < n; i++) h = (h ^ p[i]) * 16777619u;
    return h;
}
EXPORT("reverse") void reverse(unsigned char *p, uint32_t n) {
    for (uint32_t i = 0; i < n / 2; i++) { unsigned char t = p[i]; p[i] = p[n - 1 - i]; p[n - 1 - i] = t; }
}
/* The nth Fibonacci number modulo 2^64, by an iteration long enough to be interrupted. */
EXPORT("fibonacci") uint64_t fibonacci(uint32_t n) {
    uint64_t a = 0, b = 1;
    while (n--) { uint64_t t = a + b; a = b; b = t; }
    return a;
}
