/* Lists its arguments, one per line: index, length in bytes, text.
   argv[0] is left out: it is whatever the host calls the program. */
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
    printf("%d arguments\n", argc - 1);
    for (int i = 1; i < argc; i++)
        printf("%d: %zu [%s]\n", i, strlen(argv[i]), argv[i]);
    return argv[argc] == NULL ? 0 : 1;
}
