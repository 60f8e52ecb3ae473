/* What every kernel shares: types, the export, a generator of numbers, a mixing step for results. */
#include <stdint.h>
#include <stddef.h>

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t i32;
typedef int64_t i64;

#define KERNEL __attribute__((export_name("run")))
#define NOINLINE __attribute__((noinline))

static u64 kernel_seed = 0x2545f4914f6cdd1du;

static inline u64 next(void) { /* xorshift64* */
    kernel_seed ^= kernel_seed >> 12;
    kernel_seed ^= kernel_seed << 25;
    kernel_seed ^= kernel_seed >> 27;
    return kernel_seed * 0x2545f4914f6cdd1du;
}

/* Each call of `run` starts here, so that it gives the same result every time. */
static inline void start(void) { kernel_seed = 0x9e3779b97f4a7c15u; }

static inline u64 mix(u64 h, u64 v) {
    h ^= v;
    h *= 0xff51afd7ed558ccdu;
    return h ^ (h >> 32);
}

static inline u64 bits(double d) {
    u64 r;
    __builtin_memcpy(&r, &d, 8);
    return r;
}
