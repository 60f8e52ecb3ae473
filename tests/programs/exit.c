/* Ends in the way its first argument names, with the status its second one names:
     return N   from main          exit N    runs the atexit handlers
     _exit N    skips them         nested N  exit from 20 calls down
     abort      traps              flush N   exit with unflushed output */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void goodbye(void) { puts("atexit handler ran"); }

__attribute__((noinline)) static int nested(int depth, int status) {
    if (depth == 0) exit(status);
    volatile int keep = depth;
    return nested(depth - 1, status) + keep;
}

int main(int argc, char **argv) {
    const char *how = argc > 1 ? argv[1] : "return";
    int status = argc > 2 ? atoi(argv[2]) : 0;
    atexit(goodbye);
    printf("%s %d\n", how, status);
    if (!strcmp(how, "flush")) { printf("no newline, not flushed yet; "); exit(status); }
    fflush(stdout);
    if (!strcmp(how, "exit")) exit(status);
    if (!strcmp(how, "_exit")) _exit(status);
    if (!strcmp(how, "nested")) return nested(20, status);
    if (!strcmp(how, "abort")) abort();
    return status;
}
