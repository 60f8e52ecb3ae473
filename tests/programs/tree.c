/* Makes a small tree of directories, files and links in the preopened directory,
   changes it in the usual ways, lists it after each step (sorted), and removes it.
   Every step prints its result, so a wrong answer shows where it began. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void step(const char *what, int result) {
    if (result < 0) printf("%-34s errno %d\n", what, errno);
    else printf("%-34s ok\n", what);
}

static int put(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
    if (fd < 0) return -1;
    ssize_t n = write(fd, text, strlen(text));
    if (close(fd) < 0 || n != (ssize_t)strlen(text)) return -1;
    return 0;
}

static int compare(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list(const char *path, int depth) {
    DIR *dir = opendir(path);
    if (!dir) { printf("cannot list %s: errno %d\n", path, errno); return; }
    char *names[64];
    size_t n = 0;
    struct dirent *entry;
    while ((entry = readdir(dir)) && n < 64) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        names[n++] = strdup(entry->d_name);
    }
    closedir(dir);
    qsort(names, n, sizeof *names, compare);
    for (size_t i = 0; i < n; i++) {
        char full[512], target[128];
        struct stat st;
        snprintf(full, sizeof full, "%s/%s", path, names[i]);
        printf("%*s%s", 4 + depth * 2, "", names[i]);
        if (lstat(full, &st) < 0) printf(" lstat errno %d\n", errno);
        else if (S_ISLNK(st.st_mode)) {
            ssize_t length = readlink(full, target, sizeof target - 1);
            target[length < 0 ? 0 : length] = 0;
            printf(" -> %s\n", target);
        } else if (S_ISDIR(st.st_mode)) {
            puts("/");
            list(full, depth + 1);
        } else printf(" %lld bytes, %lu link%s\n", (long long)st.st_size, (unsigned long)st.st_nlink, st.st_nlink == 1 ? "" : "s");
        free(names[i]);
    }
}

int main(void) {
    struct stat st;
    step("mkdir t", mkdir("t", 0755));
    step("mkdir t again", mkdir("t", 0755));
    step("mkdir t/a", mkdir("t/a", 0755));
    step("mkdir t/a/b", mkdir("t/a/b", 0755));
    step("mkdir t/none/c", mkdir("t/none/c", 0755));
    step("write t/one", put("t/one", "1"));
    step("write t/two", put("t/two", "22"));
    step("write t/a/three", put("t/a/three", "333"));
    step("write t/one exclusively", put("t/one", "x"));
    list(".", 0);
    step("rename t/one t/a/uno", rename("t/one", "t/a/uno"));
    step("rename t/missing t/x", rename("t/missing", "t/x"));
    step("rename t/two over t/a/uno", rename("t/two", "t/a/uno"));
    step("rename t/a/b t/bb", rename("t/a/b", "t/bb"));
    step("link t/a/three t/hard", link("t/a/three", "t/hard"));
    step("symlink a/uno t/soft", symlink("a/uno", "t/soft"));
    step("symlink missing t/dangling", symlink("missing", "t/dangling"));
    step("symlink a t/dirlink", symlink("a", "t/dirlink"));
    list(".", 0);
    step("stat t/soft", stat("t/soft", &st));
    printf("    through the link: %lld bytes\n", (long long)st.st_size);
    step("stat t/dangling", stat("t/dangling", &st));
    step("stat t/dirlink/three", stat("t/dirlink/three", &st));
    step("stat t/a/../hard", stat("t/a/../hard", &st));
    step("rmdir t/a (not empty)", rmdir("t/a"));
    step("unlink t/bb", unlink("t/bb") < 0 && rmdir("t/bb") == 0 ? 0 : -1);
    step("rmdir t/hard (a file)", rmdir("t/hard"));
    step("unlink t/hard", unlink("t/hard"));
    step("unlink t/soft", unlink("t/soft"));
    step("unlink t/dangling", unlink("t/dangling"));
    step("unlink t/dirlink", unlink("t/dirlink"));
    step("unlink t/a/uno", unlink("t/a/uno"));
    step("unlink t/a/three", unlink("t/a/three"));
    step("unlink t/a/three again", unlink("t/a/three"));
    step("rmdir t/a", rmdir("t/a"));
    list(".", 0);
    step("rmdir t", rmdir("t"));
    list(".", 0);
    return 0;
}
