/* An interpreter of the eight-instruction language (> < + - . , [ ]). The program is the first
   argument, its input is standard input; the tape has 30000 cells and its ends are errors.
   With a second argument, that many steps are the limit. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned char tape[30000];
static unsigned jump[65536], stack[1024];

int main(int argc, char **argv) {
    if (argc < 2) { puts("usage: bf PROGRAM [STEPS]"); return 2; }
    const char *code = argv[1];
    unsigned long long limit = argc > 2 ? strtoull(argv[2], NULL, 10) : ~0ull, steps = 0;
    size_t n = strlen(code), open = 0;
    if (n >= 65536) { puts("program too long"); return 2; }
    for (size_t i = 0; i < n; i++) {
        if (code[i] == '[') {
            if (open == 1024) { puts("nested too deep"); return 2; }
            stack[open++] = i;
        } else if (code[i] == ']') {
            if (!open) { printf("unmatched ] at %zu\n", i); return 2; }
            jump[i] = stack[--open];
            jump[jump[i]] = i;
        }
    }
    if (open) { printf("unmatched [ at %u\n", stack[open - 1]); return 2; }
    size_t cell = 0;
    for (size_t i = 0; i < n; i++) {
        if (++steps > limit) { fflush(stdout); printf("\nstopped after %llu steps\n", limit); return 3; }
        int c;
        switch (code[i]) {
        case '>': if (++cell == sizeof tape) { printf("\ntape end at %zu\n", i); return 4; } break;
        case '<': if (cell-- == 0) { printf("\ntape start at %zu\n", i); return 4; } break;
        case '+': tape[cell]++; break;
        case '-': tape[cell]--; break;
        case '.': putchar(tape[cell]); break;
        case ',': c = getchar(); tape[cell] = c == EOF ? 0 : c; break;
        case '[': if (!tape[cell]) i = jump[i]; break;
        case ']': if (tape[cell]) i = jump[i]; break;
        default: steps--; break;
        }
    }
    return 0;
}
