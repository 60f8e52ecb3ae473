/* Performs WASI calls given as arguments and tells each one's errno: a tool to test, from inside a real
   guest, what a file system, a descriptor table and a capability give away. All 46 functions of preview 1
   are imported directly; libc opens nothing and sees no path. The operations are in README.md.

     probe open:3:../x:r stat:3:/etc/passwd symlink:/etc:3:link open:3:link/passwd:r

   prints `open:3:../x:r -> errno 76` and so on, one line each. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <wasi/api.h>

typedef uint32_t u32;
typedef uint64_t u64;

#define IMPORT(name, ...) \
    __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name))) u32 w_##name(__VA_ARGS__)
IMPORT(args_get, u32, u32);
IMPORT(args_sizes_get, u32, u32);
IMPORT(environ_get, u32, u32);
IMPORT(environ_sizes_get, u32, u32);
IMPORT(clock_res_get, u32, u32);
IMPORT(clock_time_get, u32, u64, u32);
IMPORT(fd_advise, u32, u64, u64, u32);
IMPORT(fd_allocate, u32, u64, u64);
IMPORT(fd_close, u32);
IMPORT(fd_datasync, u32);
IMPORT(fd_fdstat_get, u32, u32);
IMPORT(fd_fdstat_set_flags, u32, u32);
IMPORT(fd_fdstat_set_rights, u32, u64, u64);
IMPORT(fd_filestat_get, u32, u32);
IMPORT(fd_filestat_set_size, u32, u64);
IMPORT(fd_filestat_set_times, u32, u64, u64, u32);
IMPORT(fd_pread, u32, u32, u32, u64, u32);
IMPORT(fd_prestat_get, u32, u32);
IMPORT(fd_prestat_dir_name, u32, u32, u32);
IMPORT(fd_pwrite, u32, u32, u32, u64, u32);
IMPORT(fd_read, u32, u32, u32, u32);
IMPORT(fd_readdir, u32, u32, u32, u64, u32);
IMPORT(fd_renumber, u32, u32);
IMPORT(fd_seek, u32, u64, u32, u32);
IMPORT(fd_sync, u32);
IMPORT(fd_tell, u32, u32);
IMPORT(fd_write, u32, u32, u32, u32);
IMPORT(path_create_directory, u32, u32, u32);
IMPORT(path_filestat_get, u32, u32, u32, u32, u32);
IMPORT(path_filestat_set_times, u32, u32, u32, u32, u64, u64, u32);
IMPORT(path_link, u32, u32, u32, u32, u32, u32, u32);
IMPORT(path_open, u32, u32, u32, u32, u32, u64, u64, u32, u32);
IMPORT(path_readlink, u32, u32, u32, u32, u32, u32);
IMPORT(path_remove_directory, u32, u32, u32);
IMPORT(path_rename, u32, u32, u32, u32, u32, u32);
IMPORT(path_symlink, u32, u32, u32, u32, u32);
IMPORT(path_unlink_file, u32, u32, u32);
IMPORT(poll_oneoff, u32, u32, u32, u32);
__attribute__((import_module("wasi_snapshot_preview1"), import_name("proc_exit"))) void w_proc_exit(u32);
IMPORT(proc_raise, u32);
IMPORT(random_get, u32, u32);
IMPORT(sched_yield, void);
IMPORT(sock_accept, u32, u32, u32);
IMPORT(sock_recv, u32, u32, u32, u32, u32, u32);
IMPORT(sock_send, u32, u32, u32, u32, u32);
IMPORT(sock_shutdown, u32, u32);

#define ROOM 65536
static unsigned char scratch[ROOM] __attribute__((aligned(64)));
static unsigned char data[ROOM] __attribute__((aligned(64)));
static char line[1 << 20];
static u32 line_length;
static int dump, quiet;
static u32 opened[1024];
static u32 nopened;

#define P(x) ((u32)(uintptr_t)(x))

/* ---- output, by fd_write alone ---- */

static void flush(void) {
    u32 from = 0;
    while (from < line_length) {
        u32 n = 0;
        __wasi_ciovec_t v = {(const uint8_t *)line + from, line_length - from};
        if (w_fd_write(1, P(&v), 1, P(&n)) || !n) break;
        from += n;
    }
    line_length = 0;
}
static void ch(char c) { if (!quiet && line_length < sizeof line) line[line_length++] = c; }
static void str(const char *s) { while (*s) ch(*s++); }
static void num(u64 v) {
    char b[21];
    int n = 0;
    do b[n++] = '0' + v % 10; while (v /= 10);
    while (n) ch(b[--n]);
}
static void hex(u64 v, int digits) { while (digits--) ch("0123456789abcdef"[v >> (4 * digits) & 15]); }
static void field(const char *name, u64 v) { ch(' '); str(name); ch(' '); num(v); }
static void hexfield(const char *name, u64 v) { ch(' '); str(name); str(" 0x"); hex(v, 16); }
static void text(const unsigned char *s, u32 n) {
    ch('"');
    for (u32 i = 0; i < n; i++) {
        unsigned char c = s[i];
        if (c == '"' || c == '\\') { ch('\\'); ch(c); }
        else if (c == '\n') str("\\n");
        else if (c < 32 || c > 126) { str("\\x"); hex(c, 2); }
        else ch(c);
    }
    ch('"');
}

/* ---- operation text ---- */

#define MAX_PARTS 24
static struct { char *s; u32 n; } part[MAX_PARTS];
static int parts, bad;

/* Splits at `:` and takes escapes out, in place: \: \\ \0 \n \t \xHH. */
static void split(char *s) {
    parts = 0;
    char *to = s;
    part[0].s = to;
    for (;; s++) {
        if (*s == 0 || (*s == ':' && parts + 1 < MAX_PARTS)) {
            part[parts].n = to - part[parts].s;
            parts++;
            if (!*s) { *to = 0; return; }
            *to++ = 0;
            part[parts].s = to;
        } else if (*s == '\\' && s[1]) {
            s++;
            if (*s == '0') *to++ = 0;
            else if (*s == 'n') *to++ = '\n';
            else if (*s == 't') *to++ = '\t';
            else if (*s == 'x' && s[1] && s[2]) {
                char h[3] = {s[1], s[2], 0};
                *to++ = strtoul(h, NULL, 16);
                s += 2;
            } else *to++ = *s;
        } else *to++ = *s;
    }
}

/* A number: decimal, 0x, negative, max (all ones), end (size of memory), @ (scratch buffer), $ (last descriptor
   opened), $N (the Nth opened, from 0); +N and -N may follow the words. */
static u64 value(const char *s) {
    u64 v = 0;
    char *rest = (char *)s;
    if (!strncmp(s, "max", 3)) { v = ~0ull; rest += 3; }
    else if (!strncmp(s, "end", 3)) { v = (u64)__builtin_wasm_memory_size(0) << 16; rest += 3; }
    else if (*s == '@') { v = P(scratch); rest++; }
    else if (*s == '$') {
        rest++;
        u32 which = nopened - 1;
        if (*rest >= '0' && *rest <= '9') which = strtoul(rest, &rest, 10);
        v = which < nopened && which < 1024 ? opened[which] : 0xffffffffu;
    } else if (*s == '-') { v = -strtoull(s + 1, &rest, 0); }
    else v = strtoull(s, &rest, 0);
    if (*rest == '+') v += strtoull(rest + 1, &rest, 0);
    else if (*rest == '-') v -= strtoull(rest + 1, &rest, 0);
    if (*rest || rest == s) bad = 1;
    return v;
}
static u64 arg(int i) {
    if (i >= parts || !part[i].n) { bad = 1; return 0; }
    return value(part[i].s);
}
static u64 opt(int i, u64 otherwise) { return i < parts && part[i].n ? arg(i) : otherwise; }
static u32 path(int i) { if (i >= parts) { bad = 1; return 0; } return P(part[i].s); }
static u32 size(int i) { return i < parts ? part[i].n : 0; }

/* ---- results ---- */

static u32 done(u32 e) { str(" -> errno "); num(e); return e; }

static const char *const types[] = {"unknown", "block", "char", "dir", "file", "dgram", "stream", "link"};
static void type(u32 t) { ch(' '); if (t < 8) str(types[t]); else { str("type "); num(t); } }

static u32 filestat(u32 e, const __wasi_filestat_t *s) {
    done(e);
    if (e) return e;
    type(s->filetype);
    if (s->filetype != __WASI_FILETYPE_DIRECTORY || dump) field("size", s->size);
    if (dump) {
        hexfield("dev", s->dev);
        hexfield("ino", s->ino);
        field("nlink", s->nlink);
        field("atim", s->atim);
        field("mtim", s->mtim);
        field("ctim", s->ctim);
    }
    return e;
}

static u32 got(u32 e, u32 n, u32 room) {
    done(e);
    if (e) return e;
    field("n", n);
    ch(' ');
    if (n > room) n = room;
    text(data, n > 256 && !dump ? 256 : n);
    return e;
}

static u32 strings(u32 (*sizes)(u32, u32), u32 (*get)(u32, u32)) {
    u32 n = 0, bytes = 0;
    u32 e = sizes(P(&n), P(&bytes));
    if (e) return done(e);
    u32 *list = malloc(n * 4 + 4);
    unsigned char *room = malloc(bytes + 1);
    if (!list || !room) { str(" -> out of memory"); return 0; }
    e = get(P(list), P(room));
    done(e);
    field("count", n);
    field("bytes", bytes);
    for (u32 i = 0; !e && i < n; i++) {
        ch(' ');
        text((unsigned char *)(uintptr_t)list[i], strlen((char *)(uintptr_t)list[i]));
    }
    free(list);
    free(room);
    return e;
}

static int by_name(const void *a, const void *b) {
    const __wasi_dirent_t *x = *(const __wasi_dirent_t *const *)a, *y = *(const __wasi_dirent_t *const *)b;
    u32 n = x->d_namlen < y->d_namlen ? x->d_namlen : y->d_namlen;
    int c = memcmp(x + 1, y + 1, n);
    return c ? c : (x->d_namlen > y->d_namlen) - (x->d_namlen < y->d_namlen);
}

static u32 readdir_op(void) {
    u32 room = opt(2, ROOM), used = 0;
    if (room > ROOM) room = ROOM;
    u32 e = w_fd_readdir(arg(1), P(data), room, opt(3, 0), P(&used));
    done(e);
    if (e) return e;
    if (dump) field("used", used);
    else if (used == room) str(" full");
    const __wasi_dirent_t *list[2048];
    u32 n = 0, i = 0;
    static unsigned char aligned[ROOM] __attribute__((aligned(8)));
    /* entries follow each other without alignment: give each its own aligned place */
    u32 to = 0;
    while (used <= room && i + sizeof(__wasi_dirent_t) <= used && n < 2048) {
        __wasi_dirent_t d;
        memcpy(&d, data + i, sizeof d);
        u32 whole = sizeof d + d.d_namlen;
        if (d.d_namlen > ROOM || i + whole > used || to + whole + 8 > ROOM) break;
        memcpy(aligned + to, data + i, whole);
        if (dump || !((d.d_namlen == 1 || (d.d_namlen == 2 && data[i + whole - 1] == '.')) && data[i + sizeof d] == '.'))
            list[n++] = (const __wasi_dirent_t *)(aligned + to);
        to += (whole + 7) & ~7u;
        i += whole;
    }
    if (!dump) qsort(list, n, sizeof *list, by_name);
    field("entries", n);
    for (u32 k = 0; k < n; k++) {
        type(list[k]->d_type);
        ch(' ');
        text((const unsigned char *)(list[k] + 1), list[k]->d_namlen);
        if (dump) { field("next", list[k]->d_next); hexfield("ino", list[k]->d_ino); }
    }
    return e;
}

#define DIR_RIGHTS (__WASI_RIGHTS_PATH_OPEN | __WASI_RIGHTS_FD_READDIR | __WASI_RIGHTS_PATH_READLINK | \
                    __WASI_RIGHTS_PATH_FILESTAT_GET | __WASI_RIGHTS_FD_FILESTAT_GET)
#define READ_RIGHTS (__WASI_RIGHTS_FD_READ | __WASI_RIGHTS_FD_SEEK | __WASI_RIGHTS_FD_TELL | __WASI_RIGHTS_FD_ADVISE | \
                     __WASI_RIGHTS_FD_FILESTAT_GET | __WASI_RIGHTS_POLL_FD_READWRITE)
#define WRITE_RIGHTS (__WASI_RIGHTS_FD_WRITE | __WASI_RIGHTS_FD_SEEK | __WASI_RIGHTS_FD_TELL | __WASI_RIGHTS_FD_DATASYNC | \
                      __WASI_RIGHTS_FD_SYNC | __WASI_RIGHTS_FD_ALLOCATE | __WASI_RIGHTS_FD_FDSTAT_SET_FLAGS | \
                      __WASI_RIGHTS_FD_FILESTAT_SET_SIZE | __WASI_RIGHTS_FD_FILESTAT_SET_TIMES | \
                      __WASI_RIGHTS_FD_FILESTAT_GET | __WASI_RIGHTS_POLL_FD_READWRITE)
#define CHANGE_RIGHTS (__WASI_RIGHTS_PATH_CREATE_DIRECTORY | __WASI_RIGHTS_PATH_CREATE_FILE | __WASI_RIGHTS_PATH_LINK_SOURCE | \
                       __WASI_RIGHTS_PATH_LINK_TARGET | __WASI_RIGHTS_PATH_RENAME_SOURCE | __WASI_RIGHTS_PATH_RENAME_TARGET | \
                       __WASI_RIGHTS_PATH_FILESTAT_SET_SIZE | __WASI_RIGHTS_PATH_FILESTAT_SET_TIMES | \
                       __WASI_RIGHTS_PATH_SYMLINK | __WASI_RIGHTS_PATH_REMOVE_DIRECTORY | __WASI_RIGHTS_PATH_UNLINK_FILE)

static u32 open_op(void) {
    u64 rights = 0, inherit = 0;
    u32 oflags = 0, fdflags = 0, follow = 0, fd = 0;
    for (const char *m = parts > 3 ? part[3].s : "r"; *m; m++) switch (*m) {
        case 'r': rights |= READ_RIGHTS; break;
        case 'w': rights |= WRITE_RIGHTS; break;
        case 'd': oflags |= __WASI_OFLAGS_DIRECTORY; rights |= DIR_RIGHTS; inherit |= DIR_RIGHTS | READ_RIGHTS; break;
        case 'm': rights |= CHANGE_RIGHTS; inherit |= CHANGE_RIGHTS | WRITE_RIGHTS; break;
        case '*': rights = inherit = ~0ull; break;
        case '-': break;
        case 'c': oflags |= __WASI_OFLAGS_CREAT; break;
        case 'x': oflags |= __WASI_OFLAGS_EXCL; break;
        case 't': oflags |= __WASI_OFLAGS_TRUNC; break;
        case 'a': fdflags |= __WASI_FDFLAGS_APPEND; break;
        case 'n': fdflags |= __WASI_FDFLAGS_NONBLOCK; break;
        case 's': fdflags |= __WASI_FDFLAGS_SYNC; break;
        case 'y': fdflags |= __WASI_FDFLAGS_DSYNC; break;
        case 'R': fdflags |= __WASI_FDFLAGS_RSYNC; break;
        case 'f': follow = 1; break;
        default: bad = 1;
    }
    rights = opt(4, rights);
    inherit = opt(5, inherit);
    u32 where = arg(1), name = path(2);
    if (bad) return 0;
    u32 e = w_path_open(where, follow, name, size(2), oflags, rights, inherit, fdflags, P(&fd));
    done(e);
    if (e) return e;
    if (dump) field("fd", fd);
    if (nopened < 1024) opened[nopened] = fd;
    nopened++;
    return e;
}

/* poll:c0+1000 (clock 0, after 1000 ns), c1@T (clock 1, at T), r5, w5 ... */
static u32 poll_op(void) {
    static __wasi_subscription_t in[MAX_PARTS];
    static __wasi_event_t out[MAX_PARTS];
    u32 n = 0, ready = 0;
    memset(in, 0, sizeof in);
    for (int i = 1; i < parts; i++, n++) {
        char *s = part[i].s;
        in[n].userdata = i;
        if (*s == 'r' || *s == 'w') {
            in[n].u.tag = *s == 'r' ? __WASI_EVENTTYPE_FD_READ : __WASI_EVENTTYPE_FD_WRITE;
            in[n].u.u.fd_read.file_descriptor = value(s + 1);
        } else if (*s == 'c') {
            in[n].u.tag = __WASI_EVENTTYPE_CLOCK;
            in[n].u.u.clock.id = strtoul(s + 1, &s, 0);
            if (*s == '@') in[n].u.u.clock.flags = 1;
            else if (*s != '+') bad = 1;
            in[n].u.u.clock.timeout = value(s + 1);
        } else bad = 1;
    }
    if (bad) return 0;
    u32 e = w_poll_oneoff(P(in), P(out), n, P(&ready));
    done(e);
    if (e) return e;
    field("ready", ready);
    for (u32 i = 0; i < ready && i < MAX_PARTS; i++) {
        field("event", out[i].userdata);
        field("errno", out[i].error);
        field("type", out[i].type);
        if (dump) { field("nbytes", out[i].fd_readwrite.nbytes); field("flags", out[i].fd_readwrite.flags); }
    }
    return e;
}

/* raw:NAME:ARG:ARG... calls a function with exactly these numbers, pointers and lengths included. */
static u32 raw_op(void) {
    const char *f = parts > 1 ? part[1].s : "";
    u64 v[9] = {0};
    int n = parts - 2;
    for (int i = 0; i < n && i < 9; i++) v[i] = arg(i + 2);
    if (bad) return 0;
#define A(i) ((u32)v[i])
#define L(i) (v[i])
#define CALL(name, count, ...) if (!strcmp(f, #name)) { if (n != count) { bad = 1; return 0; } return done(w_##name(__VA_ARGS__)); }
    CALL(args_get, 2, A(0), A(1))
    CALL(args_sizes_get, 2, A(0), A(1))
    CALL(environ_get, 2, A(0), A(1))
    CALL(environ_sizes_get, 2, A(0), A(1))
    CALL(clock_res_get, 2, A(0), A(1))
    CALL(clock_time_get, 3, A(0), L(1), A(2))
    CALL(fd_advise, 4, A(0), L(1), L(2), A(3))
    CALL(fd_allocate, 3, A(0), L(1), L(2))
    CALL(fd_close, 1, A(0))
    CALL(fd_datasync, 1, A(0))
    CALL(fd_fdstat_get, 2, A(0), A(1))
    CALL(fd_fdstat_set_flags, 2, A(0), A(1))
    CALL(fd_fdstat_set_rights, 3, A(0), L(1), L(2))
    CALL(fd_filestat_get, 2, A(0), A(1))
    CALL(fd_filestat_set_size, 2, A(0), L(1))
    CALL(fd_filestat_set_times, 4, A(0), L(1), L(2), A(3))
    CALL(fd_pread, 5, A(0), A(1), A(2), L(3), A(4))
    CALL(fd_prestat_get, 2, A(0), A(1))
    CALL(fd_prestat_dir_name, 3, A(0), A(1), A(2))
    CALL(fd_pwrite, 5, A(0), A(1), A(2), L(3), A(4))
    CALL(fd_read, 4, A(0), A(1), A(2), A(3))
    CALL(fd_readdir, 5, A(0), A(1), A(2), L(3), A(4))
    CALL(fd_renumber, 2, A(0), A(1))
    CALL(fd_seek, 4, A(0), L(1), A(2), A(3))
    CALL(fd_sync, 1, A(0))
    CALL(fd_tell, 2, A(0), A(1))
    CALL(fd_write, 4, A(0), A(1), A(2), A(3))
    CALL(path_create_directory, 3, A(0), A(1), A(2))
    CALL(path_filestat_get, 5, A(0), A(1), A(2), A(3), A(4))
    CALL(path_filestat_set_times, 7, A(0), A(1), A(2), A(3), L(4), L(5), A(6))
    CALL(path_link, 7, A(0), A(1), A(2), A(3), A(4), A(5), A(6))
    CALL(path_open, 9, A(0), A(1), A(2), A(3), A(4), L(5), L(6), A(7), A(8))
    CALL(path_readlink, 6, A(0), A(1), A(2), A(3), A(4), A(5))
    CALL(path_remove_directory, 3, A(0), A(1), A(2))
    CALL(path_rename, 6, A(0), A(1), A(2), A(3), A(4), A(5))
    CALL(path_symlink, 5, A(0), A(1), A(2), A(3), A(4))
    CALL(path_unlink_file, 3, A(0), A(1), A(2))
    CALL(poll_oneoff, 4, A(0), A(1), A(2), A(3))
    CALL(proc_raise, 1, A(0))
    CALL(random_get, 2, A(0), A(1))
    CALL(sock_accept, 3, A(0), A(1), A(2))
    CALL(sock_recv, 6, A(0), A(1), A(2), A(3), A(4), A(5))
    CALL(sock_send, 5, A(0), A(1), A(2), A(3), A(4))
    CALL(sock_shutdown, 2, A(0), A(1))
    if (!strcmp(f, "sched_yield") && n == 0) return done(w_sched_yield());
    if (!strcmp(f, "proc_exit") && n == 1) { flush(); w_proc_exit(A(0)); }
    bad = 1;
    return 0;
}

/* Runs one operation. Returns its errno; sets `bad` if it was not understood. */
static u32 run(char *op) {
    str(op);
    split(op);
    const char *f = part[0].s;
    u32 e, n = 0;
    bad = 0;
#define IS(name) if (!strcmp(f, name))
  
#define SIMPLE(name, least, call) IS(name) { if (parts <= least) { bad = 1; return 0; } return done(call); }
    IS("args") return strings(w_args_sizes_get, w_args_get);
    IS("environ") return strings(w_environ_sizes_get, w_environ_get);
    IS("clockres") { u64 t = 0; e = done(w_clock_res_get(arg(1), P(&t))); if (!e && dump) field("ns", t); return e; }
    IS("clock") { u64 t = 0; e = done(w_clock_time_get(arg(1), opt(2, 0), P(&t))); if (!e && dump) field("ns", t); return e; }
    SIMPLE("advise", 4, w_fd_advise(arg(1), arg(2), arg(3), arg(4)))
    SIMPLE("allocate", 3, w_fd_allocate(arg(1), arg(2), arg(3)))
    SIMPLE("close", 1, w_fd_close(arg(1)))
    SIMPLE("datasync", 1, w_fd_datasync(arg(1)))
    IS("fdstat") {
        __wasi_fdstat_t s;
        memset(&s, 0, sizeof s);
        if (!(e = done(w_fd_fdstat_get(arg(1), P(&s))))) {
            type(s.fs_filetype);
            field("flags", s.fs_flags);
            if (dump) { hexfield("base", s.fs_rights_base); hexfield("inheriting", s.fs_rights_inheriting); }
        }
        return e;
    }
    SIMPLE("setflags", 2, w_fd_fdstat_set_flags(arg(1), arg(2)))
    SIMPLE("setrights", 3, w_fd_fdstat_set_rights(arg(1), arg(2), arg(3)))
    IS("fstat") { __wasi_filestat_t s; memset(&s, 0, sizeof s); e = w_fd_filestat_get(arg(1), P(&s)); return filestat(e, &s); }
    SIMPLE("setsize", 2, w_fd_filestat_set_size(arg(1), arg(2)))
    SIMPLE("settimes", 4, w_fd_filestat_set_times(arg(1), arg(2), arg(3), arg(4)))
    IS("read") {
        u32 room = opt(2, ROOM);
        if (room > ROOM) room = ROOM;
        __wasi_iovec_t v = {data, room};
        e = w_fd_read(arg(1), P(&v), 1, P(&n));
        return got(e, n, room);
    }
    IS("pread") {
        u32 room = arg(2);
        if (room > ROOM) room = ROOM;
        __wasi_iovec_t v = {data, room};
        e = w_fd_pread(arg(1), P(&v), 1, arg(3), P(&n));
        return got(e, n, room);
    }
    IS("write") {
        __wasi_ciovec_t v = {(uint8_t *)(uintptr_t)path(2), size(2)};
        u32 fd = arg(1);
        if (fd == 1) flush();
        e = done(w_fd_write(fd, P(&v), 1, P(&n)));
        if (!e) field("n", n);
        return e;
    }
    IS("pwrite") {
        __wasi_ciovec_t v = {(uint8_t *)(uintptr_t)path(2), size(2)};
        e = done(w_fd_pwrite(arg(1), P(&v), 1, arg(3), P(&n)));
        if (!e) field("n", n);
        return e;
    }
    IS("prestat") {
        __wasi_prestat_t s;
        memset(&s, 0, sizeof s);
        if (!(e = done(w_fd_prestat_get(arg(1), P(&s))))) { field("tag", s.tag); field("length", s.u.dir.pr_name_len); }
        return e;
    }
    IS("prestatname") {
        __wasi_prestat_t s;
        memset(&s, 0, sizeof s);
        n = w_fd_prestat_get(arg(1), P(&s)) ? 0 : s.u.dir.pr_name_len;
        n = opt(2, n);
        if (n > ROOM) n = ROOM;
        memset(data, 0, n);
        if (!(e = done(w_fd_prestat_dir_name(arg(1), P(data), n)))) { ch(' '); text(data, n); }
        return e;
    }
    IS("readdir") return readdir_op();
    SIMPLE("renumber", 2, w_fd_renumber(arg(1), arg(2)))
    IS("seek") { u64 at = 0; e = done(w_fd_seek(arg(1), arg(2), opt(3, 0), P(&at))); if (!e) field("at", at); return e; }
    IS("tell") { u64 at = 0; e = done(w_fd_tell(arg(1), P(&at))); if (!e) field("at", at); return e; }
    SIMPLE("sync", 1, w_fd_sync(arg(1)))
    SIMPLE("mkdir", 2, w_path_create_directory(arg(1), path(2), size(2)))
    IS("stat") {
        __wasi_filestat_t s;
        memset(&s, 0, sizeof s);
        e = w_path_filestat_get(arg(1), opt(3, 0), path(2), size(2), P(&s));
        return filestat(e, &s);
    }
    SIMPLE("utimes", 5, w_path_filestat_set_times(arg(1), opt(6, 0), path(2), size(2), arg(3), arg(4), arg(5)))
    SIMPLE("link", 4, w_path_link(arg(1), opt(5, 0), path(2), size(2), arg(3), path(4), size(4)))
    IS("open") return open_op();
    IS("readlink") {
        u32 room = opt(3, ROOM);
        if (room > ROOM) room = ROOM;
        e = w_path_readlink(arg(1), path(2), size(2), P(data), room, P(&n));
        return got(e, n, room);
    }
    SIMPLE("rmdir", 2, w_path_remove_directory(arg(1), path(2), size(2)))
    SIMPLE("rename", 4, w_path_rename(arg(1), path(2), size(2), arg(3), path(4), size(4)))
    SIMPLE("symlink", 3, w_path_symlink(path(1), size(1), arg(2), path(3), size(3)))
    SIMPLE("unlink", 2, w_path_unlink_file(arg(1), path(2), size(2)))
    IS("poll") return poll_op();
    IS("random") {
        n = opt(1, 16);
        if (n > ROOM) n = ROOM;
        memset(data, 0, n);
        e = done(w_random_get(P(data), n));
        if (!e && dump) { ch(' '); for (u32 i = 0; i < n && i < 64; i++) hex(data[i], 2); }
        return e;
    }
    IS("yield") return done(w_sched_yield());
    SIMPLE("raise", 1, w_proc_raise(arg(1)))
    IS("exit") { e = opt(1, 0); str(" -> leaving\n"); flush(); w_proc_exit(e); }
    IS("accept") { e = done(w_sock_accept(arg(1), opt(2, 0), P(&n))); if (!e && dump) field("fd", n); return e; }
    IS("recv") {
        u32 room = opt(2, ROOM), flags = 0;
        if (room > ROOM) room = ROOM;
        __wasi_iovec_t v = {data, room};
        e = w_sock_recv(arg(1), P(&v), 1, opt(3, 0), P(&n), P(&flags));
        return got(e, n, room);
    }
    IS("send") {
        __wasi_ciovec_t v = {(uint8_t *)(uintptr_t)path(2), size(2)};
        e = done(w_sock_send(arg(1), P(&v), 1, opt(3, 0), P(&n)));
        if (!e) field("n", n);
        return e;
    }
    SIMPLE("shutdown", 2, w_sock_shutdown(arg(1), arg(2)))
    IS("raw") return raw_op();

    /* No WASI call: the scratch buffer and the memory. */
    IS("fill") { memset(scratch, (int)arg(1), ROOM); str(" -> filled"); return 0; }
    IS("poke") { /* poke:OFFSET:SIZE:VALUE, little-endian */
        u64 at = arg(1), v = arg(3);
        n = arg(2);
        if (bad || n > 8 || at + n > ROOM) { bad = 1; return 0; }
        memcpy(scratch + at, &v, n);
        str(" -> poked");
        return 0;
    }
    IS("text") { /* text:OFFSET:TEXT */
        u64 at = arg(1);
        if (bad || parts < 3 || at + size(2) > ROOM) { bad = 1; return 0; }
        memcpy(scratch + at, part[2].s, size(2));
        str(" -> placed");
        return 0;
    }
    IS("peek") { /* peek:OFFSET:LENGTH */
        u64 at = arg(1);
        n = arg(2);
        if (bad || at + n > ROOM) { bad = 1; return 0; }
        str(" ->");
        for (u32 i = 0; i < n; i++) { if (i % 8 == 0) ch(' '); hex(scratch[at + i], 2); }
        return 0;
    }
    IS("grow") { u32 before = __builtin_wasm_memory_grow(0, arg(1)); str(" ->"); if (before == 0xffffffffu) str(" refused"); else field("pages", before); return 0; }
    IS("same") { /* same:FD:FD, whether both are the same file, by filestat */
        __wasi_filestat_t a, b;
        memset(&a, 0, sizeof a);
        memset(&b, 0, sizeof b);
        e = w_fd_filestat_get(arg(1), P(&a));
        if (!e) e = w_fd_filestat_get(arg(2), P(&b));
        done(e);
        if (!e) str(a.dev == b.dev && a.ino == b.ino ? " same" : " different");
        return e;
    }
    bad = 1;
    return 0;
}

static void usage(void) {
    str("usage: probe [-x] [-s] [-k] [-n N] [-i] OPERATION...\n"
        "  -x  print every field of what is returned    -n N  do the whole list N times\n"
        "  -s  a summary only: how often each errno     -i    operations from standard input, one a line\n"
        "  -k  stop at the first errno that is not 0\n");
    flush();
    w_proc_exit(2);
}

int main(int argc, char **argv) {
    u64 times = 1;
    int summary = 0, stop = 0, first = 1, from_input = 0;
    for (; first < argc && argv[first][0] == '-' && argv[first][1] && !argv[first][2]; first++) {
        if (argv[first][1] == 'x') dump = 1;
        else if (argv[first][1] == 's') summary = 1;
        else if (argv[first][1] == 'k') stop = 1;
        else if (argv[first][1] == 'i') from_input = 1;
        else if (argv[first][1] == 'n' && first + 1 < argc) times = strtoull(argv[++first], NULL, 0);
        else usage();
    }
    char **ops = argv + first;
    int count = argc - first;
    if (from_input) {
        static char input[1 << 20];
        static char *lines[16384];
        u32 n = 0, got = 0;
        for (;;) {
            __wasi_iovec_t v = {(uint8_t *)input + n, sizeof input - 1 - n};
            if (!v.buf_len || w_fd_read(0, P(&v), 1, P(&got)) || !got) break;
            n += got;
        }
        input[n] = 0;
        count = 0;
        for (char *s = input; *s && count < 16384;) {
            char *e = s + strcspn(s, "\n");
            int more = *e != 0;
            *e = 0;
            if (*s && *s != '#') lines[count++] = s;
            s = e + more;
        }
        ops = lines;
    }
    if (!count) usage();
    u32 (*seen)[80] = summary ? calloc(count, sizeof *seen) : NULL;
    u32 longest = 0;
    for (int i = 0; i < count; i++) if (strlen(ops[i]) > longest) longest = strlen(ops[i]);
    char *copy = malloc(longest + 1);
    if (!copy || (summary && !seen)) { str("out of memory\n"); flush(); return 3; }
    int failed = 0;
    for (u64 t = 0; t < times; t++) {
        quiet = summary || t + 1 < times;
        nopened = 0;
        for (int i = 0; i < count; i++) {
            strcpy(copy, ops[i]);
            u32 e = run(copy);
            if (bad) {
                quiet = 0;
                line_length = 0;
                str("not understood: ");
                str(ops[i]);
                ch('\n');
                flush();
                return 2;
            }
            ch('\n');
            flush();
            if (seen) seen[i][e < 79 ? e : 79]++;
            if (e) failed = 1;
            if (e && stop) return 1;
        }
    }
    quiet = 0;
    for (int i = 0; seen && i < count; i++) {
        str(ops[i]);
        str(" ->");
        for (u32 e = 0; e < 80; e++) if (seen[i][e]) { str(" errno "); num(e); str(" x"); num(seen[i][e]); }
        ch('\n');
        flush();
    }
    return stop ? failed : 0;
}
