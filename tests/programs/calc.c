/* A calculator: one expression or assignment per line of standard input.
   Numbers are doubles, hexadecimal with 0x; operators + - * / % ^ and unary minus; parentheses;
   functions sqrt abs floor min max gcd; variables of one word; `ans` is the last result. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *p, *failure;
static int depth;
static struct { char name[16]; double value; } vars[64];
static int nvars;

static double expression(void);

static void skip(void) { while (*p == ' ' || *p == '\t') p++; }
static double fail(const char *why) { if (!failure) failure = why; return 0; }
static int take(char c) { skip(); if (*p != c) return 0; p++; return 1; }

static double *variable(const char *name, int make) {
    for (int i = 0; i < nvars; i++) if (!strcmp(vars[i].name, name)) return &vars[i].value;
    if (!make || nvars == 64) return NULL;
    strcpy(vars[nvars].name, name);
    vars[nvars].value = 0;
    return &vars[nvars++].value;
}

static double gcd(double a, double b) {
    long long x = (long long)fabs(a), y = (long long)fabs(b);
    while (y) { long long t = x % y; x = y; y = t; }
    return (double)x;
}

static int word(char *into) {
    int n = 0;
    skip();
    while (isalnum((unsigned char)*p) || *p == '_') { if (n < 15) into[n++] = *p; p++; }
    into[n] = 0;
    return n;
}

static double call(const char *name) {
    double a = expression(), b = 0;
    int two = 0;
    if (take(',')) { two = 1; b = expression(); }
    if (!take(')')) return fail("missing )");
    if (!strcmp(name, "sqrt") && !two) return a < 0 ? fail("root of a negative number") : sqrt(a);
    if (!strcmp(name, "abs") && !two) return fabs(a);
    if (!strcmp(name, "floor") && !two) return floor(a);
    if (!strcmp(name, "min") && two) return a < b ? a : b;
    if (!strcmp(name, "max") && two) return a > b ? a : b;
    if (!strcmp(name, "gcd") && two) return fabs(a) < 9e15 && fabs(b) < 9e15 ? gcd(a, b) : fail("too large");
    return fail("no such function");
}

static double primary(void) {
    skip();
    if (take('(')) {
        if (++depth > 200) { depth--; return fail("too deep"); }
        double v = expression();
        depth--;
        if (!failure && !take(')')) return fail("missing )");
        return v;
    }
    if (isdigit((unsigned char)*p) || *p == '.') {
        char *end;
        double v = strtod(p, &end);
        if (end == p) return fail("bad number");
        p = end;
        return v;
    }
    if (isalpha((unsigned char)*p)) {
        char name[16];
        word(name);
        if (take('(')) return call(name);
        double *v = variable(name, 0);
        return v ? *v : fail("unknown name");
    }
    return fail(*p ? "unexpected character" : "unexpected end");
}

static double power(void);
static double unary(void) {
    if (++depth > 400) { depth--; return fail("too deep"); }
    double v = take('-') ? -unary() : power();
    depth--;
    return v;
}
static double power(void) {
    double a = primary();
    return take('^') ? pow(a, unary()) : a;
}
static double term(void) {
    double a = unary();
    while (!failure) {
        if (take('*')) a *= unary();
        else if (take('/')) { double b = unary(); a = b == 0 ? fail("division by zero") : a / b; }
        else if (take('%')) { double b = unary(); a = b == 0 ? fail("division by zero") : fmod(a, b); }
        else break;
    }
    return a;
}
static double expression(void) {
    double a = term();
    while (!failure) {
        if (take('+')) a += term();
        else if (take('-')) a -= term();
        else break;
    }
    return a;
}

int main(void) {
    static char line[8192];
    int errors = 0;
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\r\n")] = 0;
        p = line;
        skip();
        if (!*p || *p == '#') continue;
        failure = NULL;
        depth = 0;
        char name[16] = "ans";
        const char *start = p;
        if (isalpha((unsigned char)*p)) {
            word(name);
            if (!take('=')) { p = start; strcpy(name, "ans"); }
        }
        double v = expression();
        skip();
        if (!failure && *p) fail("unexpected character");
        if (failure) { printf("error at %d: %s\n", (int)(p - line) + 1, failure); errors++; continue; }
        double *slot = variable(name, 1);
        if (slot) *slot = v;
        printf("%s = %.12g\n", name, v);
    }
    return errors ? 1 : 0;
}
