/* Reads one JSON text from standard input, prints it indented with keys sorted, then how many
   values of each kind it has. A mistake is told with line and column, exit status 1. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { NUL, FALSE, TRUE, NUMBER, STRING, ARRAY, OBJECT, KINDS };
typedef struct value { enum kind kind; size_t n; char *text; struct value *items; char **keys; } value;

static const char *kinds[] = {"null", "false", "true", "number", "string", "array", "object"};
static char *text, *at;
static size_t count[KINDS];
static int depth;

static void fail(const char *why) {
    int line = 1, column = 1;
    for (char *c = text; c < at; c++) { column++; if (*c == '\n') { line++; column = 1; } }
    printf("%d:%d: %s\n", line, column, why);
    exit(1);
}

static void *grow(void *old, size_t n, size_t size) {
    if (n & (n - 1)) return old; /* room doubles at each power of two */
    void *p = realloc(old, (n ? n * 2 : 1) * size);
    if (!p) { puts("out of memory"); exit(3); }
    return p;
}

static void space(void) { while (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r') at++; }

static char *string(void) { /* kept as written, checked */
    char *start = ++at;
    while (*at != '"') {
        if ((unsigned char)*at < 0x20) fail("control character or end of text in string");
        if (*at++ != '\\') continue;
        if (*at == 'u') {
            at++;
            for (int i = 0; i < 4; i++, at++)
                if (!*at || !strchr("0123456789abcdefABCDEF", *at)) fail("bad \\u escape");
        } else if (!*at || !strchr("\"\\/bfnrt", *at)) fail("bad escape");
        else at++;
    }
    char *copy = strndup(start, at - start);
    at++;
    return copy;
}

static value parse(void);

static value list(enum kind kind, char close) {
    value v = {.kind = kind};
    if (++depth > 256) fail("nested too deep");
    at++;
    space();
    while (*at != close) {
        v.items = grow(v.items, v.n, sizeof *v.items);
        if (kind == OBJECT) {
            v.keys = grow(v.keys, v.n, sizeof *v.keys);
            if (*at != '"') fail("key expected");
            v.keys[v.n] = string();
            space();
            if (*at != ':') fail(": expected");
            at++;
        }
        value item = parse();
        v.items[v.n++] = item;
        space();
        if (*at == ',') { at++; space(); if (*at == close) fail("value expected"); }
        else if (*at != close) fail("comma or end expected");
    }
    at++;
    depth--;
    return v;
}

static value parse(void) {
    space();
    value v = {.kind = NUL};
    if (*at == '[') v = list(ARRAY, ']');
    else if (*at == '{') v = list(OBJECT, '}');
    else if (*at == '"') { v.text = string(); v.kind = STRING; }
    else if (*at == '-' || (*at >= '0' && *at <= '9')) {
        char *start = at;
        if (*at == '-') at++;
        if (*at == '0') at++;
        else if (*at >= '1' && *at <= '9') while (*at >= '0' && *at <= '9') at++;
        else fail("digit expected");
        if (*at == '.') {
            at++;
            if (*at < '0' || *at > '9') fail("digit expected");
            while (*at >= '0' && *at <= '9') at++;
        }
        if (*at == 'e' || *at == 'E') {
            at++;
            if (*at == '+' || *at == '-') at++;
            if (*at < '0' || *at > '9') fail("digit expected");
            while (*at >= '0' && *at <= '9') at++;
        }
        v.kind = NUMBER;
        v.text = strndup(start, at - start);
    } else {
        int k = NUL;
        while (k <= TRUE && strncmp(at, kinds[k], strlen(kinds[k]))) k++;
        if (k > TRUE) fail(*at ? "unexpected character" : "unexpected end");
        v.kind = k;
        at += strlen(kinds[k]);
    }
    count[v.kind]++;
    return v;
}

static value *sorting;
static int compare(const void *a, const void *b) {
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    int c = strcmp(sorting->keys[x], sorting->keys[y]);
    return c ? c : (x > y) - (x < y);
}

static void print(value *v, int indent) {
    if (v->kind <= TRUE) printf("%s", kinds[v->kind]);
    else if (v->kind == NUMBER) printf("%s", v->text);
    else if (v->kind == STRING) printf("\"%s\"", v->text);
    else if (!v->n) printf(v->kind == ARRAY ? "[]" : "{}");
    else {
        size_t *order = malloc(v->n * sizeof *order);
        if (!order) exit(3);
        for (size_t i = 0; i < v->n; i++) order[i] = i;
        if (v->kind == OBJECT) { sorting = v; qsort(order, v->n, sizeof *order, compare); }
        puts(v->kind == ARRAY ? "[" : "{");
        for (size_t i = 0; i < v->n; i++) {
            printf("%*s", indent + 2, "");
            if (v->kind == OBJECT) printf("\"%s\": ", v->keys[order[i]]);
            print(&v->items[order[i]], indent + 2);
            puts(i + 1 < v->n ? "," : "");
        }
        printf("%*s%c", indent, "", v->kind == ARRAY ? ']' : '}');
        free(order);
    }
}

int main(void) {
    size_t n = 0, room = 4096, got;
    text = malloc(room + 1);
    while (text && (got = fread(text + n, 1, room - n, stdin)) > 0)
        if ((n += got) == room) text = realloc(text, (room *= 2) + 1);
    if (!text) return 3;
    text[n] = 0;
    at = text;
    value v = parse();
    space();
    if (*at || at != text + n) fail("more text after the value");
    print(&v, 0);
    puts("");
    for (int k = 0; k < KINDS; k++) printf("%s%s %zu", k ? ", " : "", kinds[k], count[k]);
    puts("");
    return 0;
}
