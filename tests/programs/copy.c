/* Copies one file to another in odd-sized pieces, then checks on the copy: seek, tell, pread,
   pwrite, scattered reads and gathered writes, append, truncate both ways, stat, set times.
   Usage: copy FROM TO */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

static int failures;

static void check(const char *what, long long got, long long want) {
    if (got == want) { printf("%-28s %lld\n", what, got); return; }
    printf("%-28s %lld, expected %lld (errno %d)\n", what, got, want, errno);
    failures++;
}

static uint32_t sum(int fd, off_t *size) {
    uint32_t h = 2166136261u;
    unsigned char b[64];
    ssize_t n;
    *size = 0;
    lseek(fd, 0, SEEK_SET);
    while ((n = read(fd, b, sizeof b)) > 0) {
        for (ssize_t i = 0; i < n; i++) h = (h ^ b[i]) * 16777619u;
        *size += n;
    }
    return h;
}

/* A gathered write or scattered read may stop early: go on from there, as programs must. */
static ssize_t all(int fd, struct iovec *v, int n, ssize_t (*move)(int, const struct iovec *, int)) {
    ssize_t total = 0, got;
    while (n > 0) {
        if (v->iov_len == 0) { v++; n--; continue; }
        if ((got = move(fd, v, n)) <= 0) break;
        total += got;
        for (; n > 0 && (size_t)got >= v->iov_len; v++, n--) got -= v->iov_len;
        if (n > 0) { v->iov_base = (char *)v->iov_base + got; v->iov_len -= got; }
    }
    return total;
}

int main(int argc, char **argv) {
    if (argc != 3) { puts("usage: copy FROM TO"); return 2; }
    int in = open(argv[1], O_RDONLY);
    if (in < 0) { printf("cannot open %s: errno %d\n", argv[1], errno); return 1; }
    int out = open(argv[2], O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (out < 0) { printf("cannot create %s: errno %d\n", argv[2], errno); return 1; }

    char buf[257];
    ssize_t n;
    long long copied = 0;
    for (size_t piece = 1; (n = read(in, buf, piece)) > 0; piece = piece * 3 % 256 + 1) {
        if (write(out, buf, n) != n) { printf("short write: errno %d\n", errno); return 1; }
        copied += n;
    }
    off_t a, b;
    uint32_t ha = sum(in, &a), hb = sum(out, &b);
    check("copied", copied, a);
    check("size of the copy", b, a);
    check("same contents", ha == hb, 1);
    check("write to a read-only fd", write(in, "x", 1), -1);

    check("seek to the end", lseek(out, 0, SEEK_END), a);
    check("seek before the start", lseek(out, -1, SEEK_SET), -1);
    check("seek from the middle", (lseek(out, 10, SEEK_SET), lseek(out, -4, SEEK_CUR)), 6);
    memset(buf, 0, sizeof buf);
    check("pread 5 at 2", pread(out, buf, 5, 2), 5);
    printf("    [%s]\n", buf);
    check("position unchanged", lseek(out, 0, SEEK_CUR), 6);
    check("pread past the end", pread(out, buf, 5, a + 100), 0);
    check("pwrite 3 at 0", pwrite(out, "ABC", 3, 0), 3);
    check("position unchanged", lseek(out, 0, SEEK_CUR), 6);

    struct iovec w[3] = {{"<", 1}, {"", 0}, {"middle>", 7}};
    check("gathered write", all(out, w, 3, writev), 8);
    char x[4] = "", y[8] = "";
    struct iovec r[2] = {{x, 3}, {y, 7}};
    lseek(out, 0, SEEK_SET);
    check("scattered read", all(out, r, 2, readv), 10);
    printf("    [%s] [%s]\n", x, y);

    struct stat st;
    check("truncate to 12", ftruncate(out, 12), 0);
    check("fstat", fstat(out, &st), 0);
    check("size", st.st_size, 12);
    check("extend to 20", ftruncate(out, 20), 0);
    char tail[8];
    memset(tail, 1, sizeof tail);
    check("pread the new part", pread(out, tail, 8, 12), 8);
    check("it is zero", tail[0] | tail[3] | tail[7], 0);
    check("truncate to -1", ftruncate(out, -1), -1);
    check("close", close(out), 0);
    check("close again", close(out), -1);

    out = open(argv[2], O_WRONLY | O_APPEND);
    check("open to append", out >= 0, 1);
    lseek(out, 0, SEEK_SET);
    check("append", write(out, "tail", 4), 4);
    check("read a write-only fd", read(out, buf, 1), -1);
    check("fstat", fstat(out, &st), 0);
    check("size", st.st_size, 24);
    check("regular file", S_ISREG(st.st_mode), 1);
    struct timespec times[2] = {{1000000000, 123000000}, {1234567890, 500000000}};
    check("futimens", futimens(out, times), 0);
    check("fstat", fstat(out, &st), 0);
    check("mtime seconds", st.st_mtim.tv_sec, 1234567890);
    check("mtime nanoseconds", st.st_mtim.tv_nsec, 500000000);
    times[0].tv_nsec = UTIME_OMIT;
    times[1].tv_sec = 42;
    times[1].tv_nsec = 0;
    check("utimensat", utimensat(AT_FDCWD, argv[2], times, 0), 0);
    check("stat", stat(argv[2], &st), 0);
    check("mtime", st.st_mtim.tv_sec, 42);
    check("fsync", fsync(out), 0);
    check("close", close(out), 0);
    close(in);

    FILE *f = fopen(argv[2], "rb");
    check("last bytes", f && fseek(f, -4, SEEK_END) == 0 && fread(buf, 1, 4, f) == 4 && !memcmp(buf, "tail", 4), 1);
    check("end of file", f ? getc(f) : 0, EOF);
    if (f) fclose(f);
    printf("%d failures\n", failures);
    return failures != 0;
}
