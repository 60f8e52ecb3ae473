/* Sleeping and polling. `sleep` alone checks that short waits take about as long as they should
   (never less) and prints only yes or no; `sleep MS` waits that long and says so. */
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int64_t nanos(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void tell(const char *what, int yes) { printf("%-36s %s\n", what, yes ? "yes" : "no"); }

static int between(int64_t start, int64_t least, int64_t most) {
    int64_t took = nanos() - start;
    return took >= least * 1000000 && took < most * 1000000;
}

int main(int argc, char **argv) {
    if (argc > 1) {
        long ms = atol(argv[1]);
        printf("sleeping %ld ms\n", ms);
        fflush(stdout);
        struct timespec t = {ms / 1000, ms % 1000 * 1000000};
        nanosleep(&t, NULL);
        puts("awake");
        return 0;
    }
    int64_t t0 = nanos();
    tell("usleep returns 0", usleep(20000) == 0);
    tell("after at least 20 ms", between(t0, 20, 2000));

    t0 = nanos();
    struct timespec at = {0, 0};
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_nsec += 15000000;
    if (at.tv_nsec >= 1000000000) { at.tv_nsec -= 1000000000; at.tv_sec++; }
    tell("absolute sleep returns 0", clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == 0);
    tell("after at least 15 ms", between(t0, 14, 2000));

    t0 = nanos();
    at.tv_sec -= 1;
    tell("an absolute time in the past", clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == 0);
    tell("returns at once", between(t0, 0, 500));

    struct pollfd out = {.fd = 1, .events = POLLOUT};
    t0 = nanos();
    tell("standard output is ready", poll(&out, 1, 1000) == 1 && (out.revents & POLLOUT));
    tell("without waiting", between(t0, 0, 900));
    tell("sched_yield returns 0", sched_yield() == 0);
    return 0;
}
