/* Without arguments: the whole environment, sorted. With arguments: those
   variables, or "unset". An empty environment must not be an error. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

static int compare(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int main(int argc, char **argv) {
    if (argc > 1) {
        for (int i = 1; i < argc; i++) {
            const char *value = getenv(argv[i]);
            printf("%s %s%s\n", argv[i], value ? "= " : "unset", value ? value : "");
        }
        return 0;
    }
    size_t n = 0;
    while (environ && environ[n]) n++;
    if (n) qsort(environ, n, sizeof *environ, compare);
    printf("%zu variables\n", n);
    for (size_t i = 0; i < n; i++) puts(environ[i]);
    return 0;
}
