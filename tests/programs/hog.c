/* Takes as much of one thing as it is given, and tells where it was stopped. For tests of limits: with
   none some of these run for ever or fill a disk. The second argument bounds the attempt.
     spin N     N million rounds of a loop      calls N    N million calls of an empty function
     recurse N  N nested calls                  grow N     pages of memory, one at a time
     alloc N    N allocations of 1 MiB, touched write N    N lines of 64 bytes on standard output
     open N     N descriptors of "."            files N    N files f0, f1 ...
     fill N     N KiB into one file             sparse N   one file of size N by truncation
     random N   N bytes of randomness           polls N    N polls that return at once */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NAMED __attribute__((noinline))
static volatile uint32_t sink;

NAMED static void empty(void) { __asm__ volatile(""); }
NAMED static uint32_t recurse(uint64_t n) { return n ? recurse(n - 1) + sink : 1; }

int main(int argc, char **argv) {
    if (argc < 3) { puts("usage: hog WHAT N"); return 2; }
    const char *what = argv[1];
    uint64_t n = strtoull(argv[2], NULL, 0), done = 0;
    errno = 0;
    if (!strcmp(what, "spin")) { for (; done < n; done++) for (uint32_t i = 0; i < 1000000; i++) sink = i; }
    else if (!strcmp(what, "calls")) { for (; done < n; done++) for (uint32_t i = 0; i < 1000000; i++) empty(); }
    else if (!strcmp(what, "recurse")) { sink = 1; recurse(n); done = n; }
    else if (!strcmp(what, "grow")) { while (done < n && __builtin_wasm_memory_grow(0, 1) != (size_t)-1) done++; }
    else if (!strcmp(what, "alloc")) {
        for (char *p; done < n && (p = malloc(1 << 20)); done++) memset(p, 1, 1 << 20);
    } else if (!strcmp(what, "write")) {
        static const char line[] = "0123456789 0123456789 0123456789 0123456789 0123456789 01234567\n";
        while (done < n && write(1, line, 64) == 64) done++;
    } else if (!strcmp(what, "open")) { while (done < n && open(".", O_RDONLY | O_DIRECTORY) >= 0) done++; }
    else if (!strcmp(what, "files")) {
        char name[32];
        for (int fd; done < n; done++) {
            snprintf(name, sizeof name, "f%llu", (unsigned long long)done);
            if ((fd = open(name, O_WRONLY | O_CREAT, 0644)) < 0) break;
            close(fd);
        }
    } else if (!strcmp(what, "fill")) {
        static char k[1024];
        int fd = open("filled", O_WRONLY | O_CREAT | O_TRUNC, 0644);
        while (fd >= 0 && done < n && write(fd, k, 1024) == 1024) done++;
    } else if (!strcmp(what, "sparse")) {
        int fd = open("sparse", O_WRONLY | O_CREAT | O_TRUNC, 0644);
        if (fd >= 0 && ftruncate(fd, (off_t)n) == 0) done = n;
    } else if (!strcmp(what, "random")) {
        static char k[256];
        while (done + 256 <= n && getentropy(k, 256) == 0) done += 256;
    } else if (!strcmp(what, "polls")) {
        struct timespec t = {0, 0};
        while (done < n && nanosleep(&t, NULL) == 0) done++;
    } else { puts("unknown"); return 2; }
    int e = errno;
    printf("%s: %llu of %llu, errno %d\n", what, (unsigned long long)done, (unsigned long long)n, done == n ? 0 : e);
    return done != n;
}
