/* Fibonacci by double recursion: calls, and little else. */
#include "kernel.h"

NOINLINE static u32 fib(u32 n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

KERNEL i64 run(i32 n) { return fib(n); }
