/* The smallest useful command: one line on each output stream. */
#include <stdio.h>

int main(void) {
    puts("hello from the guest");
    fputs("and a line on standard error\n", stderr);
    return 0;
}
