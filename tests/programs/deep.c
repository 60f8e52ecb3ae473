/* Traps of every kind at the end of a chain of named functions, for tests of backtraces.
   The first argument is the kind; the chain is main, outer_gate, middle_bridge, inner_keep, spring_<kind>
   (main is __main_argc_argv or __original_main in the name section). Built with its name section. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMED __attribute__((noinline)) /* and an effect after the call, or it becomes a jump */

static volatile int zero = 0, one = 1;
static volatile int trail;
typedef int (*returns_int)(int);

NAMED int spring_unreachable(int n) { trail = n; __builtin_trap(); }
NAMED int spring_division(int n) { return n / zero; }
NAMED int spring_overflow(int n) { return (INT32_MIN + zero) / (n > 0 ? -one : 1); }
NAMED int spring_memory(int n) { return *(volatile int *)(uintptr_t)(0xfffffff0u + (unsigned)n); }
NAMED int spring_store(int n) { *(volatile long long *)(uintptr_t)(0xfffffffcu - (unsigned)zero) = n; return n; }
NAMED int spring_table(int n) { returns_int f = (returns_int)(uintptr_t)(100000 + zero); return f(n) + one; }
NAMED int spring_null(int n) { returns_int f = (returns_int)(uintptr_t)zero; return f(n) + one; }
static double other_type(double x) { return x + one; }
static double (*volatile wrong)(double) = other_type;
NAMED int spring_signature(int n) { returns_int f = (returns_int)(void *)wrong; return f(n) + one; }
NAMED int spring_recursion(int n) { return n == zero ? 0 : spring_recursion(n + one) + one; }
NAMED int spring_conversion(int n) {
    volatile double big = 1e30;
    return __builtin_wasm_trunc_s_i32_f64(big * n);
}

static const struct { const char *name; returns_int spring; } springs[] = {
    {"unreachable", spring_unreachable}, {"division", spring_division}, {"overflow", spring_overflow},
    {"memory", spring_memory}, {"store", spring_store}, {"table", spring_table}, {"null", spring_null},
    {"signature", spring_signature}, {"recursion", spring_recursion}, {"conversion", spring_conversion},
};

NAMED int inner_keep(int which, int n) { int r = springs[which].spring(n); trail = r + 1; return r; }
NAMED int middle_bridge(int which, int n) { int r = inner_keep(which, n + 1); trail = r + 2; return r; }
NAMED int outer_gate(int which, int n) { int r = middle_bridge(which, n + 1); trail = r + 3; return r; }

int main(int argc, char **argv) {
    for (unsigned i = 0; argc > 1 && i < sizeof springs / sizeof *springs; i++) {
        if (strcmp(argv[1], springs[i].name)) continue;
        printf("about to trap: %s\n", argv[1]);
        fflush(stdout);
        int r = outer_gate((int)i, 1);
        printf("no trap: %d\n", r);
        return 1;
    }
    puts("usage: deep KIND");
    for (unsigned i = 0; i < sizeof springs / sizeof *springs; i++) printf("  %s\n", springs[i].name);
    return 2;
}
