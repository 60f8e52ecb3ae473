/* Clocks and randomness, told in yes and no so that the output is always the same. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static void tell(const char *what, int yes) { printf("%-40s %s\n", what, yes ? "yes" : "no"); }

static int64_t nanos(clockid_t id) {
    struct timespec t;
    if (clock_gettime(id, &t) < 0) return -1;
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int main(void) {
    struct timespec res;
    int64_t now = nanos(CLOCK_REALTIME);
    tell("the date is after 2024", now > 1704067200ll * 1000000000);
    tell("the date is before 2200", now < 7258118400ll * 1000000000);
    tell("time() agrees with the clock", time(NULL) - now / 1000000000 <= 2);
    tell("the clock has a resolution", clock_getres(CLOCK_MONOTONIC, &res) == 0 && (res.tv_sec || res.tv_nsec));

    int64_t last = nanos(CLOCK_MONOTONIC), first = last;
    int back = 0;
    long rounds = 0;
    while (last - first < 2000000 && rounds < 10000000) {
        int64_t t = nanos(CLOCK_MONOTONIC);
        if (t < last) back = 1;
        last = t;
        rounds++;
    }
    tell("the monotonic clock moves", last > first);
    tell("the monotonic clock goes back", back);

    unsigned char a[64], b[64], zero[64] = {0};
    tell("getentropy works", getentropy(a, 64) == 0 && getentropy(b, 64) == 0);
    tell("two draws are equal", !memcmp(a, b, 64));
    tell("a draw is all zero", !memcmp(a, zero, 64) || !memcmp(b, zero, 64));
    static unsigned char big[8192];
    unsigned seen[256] = {0}, missing = 0, ones = 0;
    for (size_t i = 0; i < sizeof big; i += 256) getentropy(big + i, 256);
    for (size_t i = 0; i < sizeof big; i++) { seen[big[i]]++; ones += __builtin_popcount(big[i]); }
    for (int i = 0; i < 256; i++) missing += !seen[i];
    tell("every byte value seen in 8192", missing == 0);
    tell("about half of the bits are set", ones > 8192 * 4 - 1200 && ones < 8192 * 4 + 1200);
    return 0;
}
