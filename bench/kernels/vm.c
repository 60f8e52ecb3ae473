/* A bytecode machine interpreting a small program n times: a switch (br_table) in a hot loop. The program
   sums and mixes the digits of the numbers below 100, on a stack of its own. */
#include "kernel.h"

enum { HALT, PUSH, LOAD, STORE, ADD, SUB, MUL, DIV, REM, DUP, SWAP, POP, JUMP, JZ, LESS, XOR };
static u8 program[96];
static u32 length;

static void op(u8 o) { program[length++] = o; }
static void op1(u8 o, u8 v) { op(o); op(v); }

static void build(void) {
    length = 0;
    op1(PUSH, 0); op1(STORE, 0);
    u32 outer = length;
    op1(LOAD, 0); op1(STORE, 1);
    u32 inner = length;
    op1(LOAD, 1);
    u32 leave = length + 1;
    op1(JZ, 0);
    op1(LOAD, 1); op1(PUSH, 10); op(REM); op1(LOAD, 2); op(ADD); op1(STORE, 2);
    op1(LOAD, 1); op1(PUSH, 10); op(DIV); op1(STORE, 1);
    op1(JUMP, inner);
    program[leave] = length;
    op1(LOAD, 2); op(DUP); op1(PUSH, 3); op(MUL); op(XOR); op1(STORE, 2);
    op1(LOAD, 0); op1(PUSH, 1); op(ADD); op(DUP); op1(STORE, 0);
    op1(PUSH, 100); op(LESS);
    u32 end = length + 1;
    op1(JZ, 0);
    op1(JUMP, outer);
    program[end] = length;
    op1(LOAD, 2); op(HALT);
}

NOINLINE static u32 interpret(u32 seed) {
    u32 stack[32], var[4] = {0, 0, seed, 0}, sp = 0, t;
    const u8 *pc = program;
    for (;;) switch (*pc++) {
        case HALT: return stack[sp - 1];
        case PUSH: stack[sp++] = *pc++; break;
        case LOAD: stack[sp++] = var[*pc++ & 3]; break;
        case STORE: var[*pc++ & 3] = stack[--sp]; break;
        case ADD: sp--; stack[sp - 1] += stack[sp]; break;
        case SUB: sp--; stack[sp - 1] -= stack[sp]; break;
        case MUL: sp--; stack[sp - 1] *= stack[sp]; break;
        case DIV: sp--; stack[sp - 1] /= stack[sp]; break;
        case REM: sp--; stack[sp - 1] %= stack[sp]; break;
        case DUP: stack[sp] = stack[sp - 1]; sp++; break;
        case SWAP: t = stack[sp - 1]; stack[sp - 1] = stack[sp - 2]; stack[sp - 2] = t; break;
        case POP: sp--; break;
        case JUMP: pc = program + *pc; break;
        case JZ: pc = stack[--sp] ? pc + 1 : program + *pc; break;
        case LESS: sp--; stack[sp - 1] = stack[sp - 1] < stack[sp]; break;
        case XOR: sp--; stack[sp - 1] ^= stack[sp]; break;
        default: __builtin_trap();
    }
}

KERNEL i64 run(i32 n) {
    build();
    u64 h = 0;
    for (i32 i = 0; i < n; i++) h = mix(h, interpret(i));
    return h;
}
