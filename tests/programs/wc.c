/* Counts lines, words and bytes of the files named, or of standard input ("-", or no name).
   A file that cannot be opened is reported on standard output (so that it can be
   compared) and makes the exit status 1. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static unsigned long total[3];

static void count(FILE *in, const char *name) {
    unsigned long n[3] = {0, 0, 0};
    int c, inside = 0;
    while ((c = getc(in)) != EOF) {
        n[2]++;
        if (c == '\n') n[0]++;
        if (isspace(c)) inside = 0;
        else if (!inside) { inside = 1; n[1]++; }
    }
    printf("%6lu %6lu %6lu %s%s\n", n[0], n[1], n[2], name, ferror(in) ? " (read error)" : "");
    for (int i = 0; i < 3; i++) total[i] += n[i];
}

int main(int argc, char **argv) {
    int status = 0;
    if (argc < 2) count(stdin, "-");
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "-")) { count(stdin, "-"); continue; }
        FILE *in = fopen(argv[i], "rb");
        if (!in) {
            printf("cannot open %s: errno %d\n", argv[i], errno);
            status = 1;
            continue;
        }
        count(in, argv[i]);
        fclose(in);
    }
    if (argc > 2) printf("%6lu %6lu %6lu total\n", total[0], total[1], total[2]);
    return status;
}
