/* Five bodies under gravity for n steps: f64 arithmetic and square roots in long chains. */
#include "kernel.h"

static struct body { double x[3], v[3], mass; } body[5];

KERNEL i64 run(i32 n) {
    start();
    for (int i = 0; i < 5; i++) {
        for (int k = 0; k < 3; k++) {
            body[i].x[k] = i * 4.0 + (double)(next() >> 40) / 16777216.0;
            body[i].v[k] = (double)(next() >> 40) / 16777216.0 - 0.5;
        }
        body[i].mass = i ? 0.01 / i : 40.0;
    }
    const double dt = 0.001;
    for (i32 step = 0; step < n; step++) {
        for (int i = 0; i < 5; i++)
            for (int j = i + 1; j < 5; j++) {
                double d[3], s = 0.0001;
                for (int k = 0; k < 3; k++) { d[k] = body[i].x[k] - body[j].x[k]; s += d[k] * d[k]; }
                double f = dt / (s * __builtin_sqrt(s));
                for (int k = 0; k < 3; k++) {
                    body[i].v[k] -= d[k] * body[j].mass * f;
                    body[j].v[k] += d[k] * body[i].mass * f;
                }
            }
        for (int i = 0; i < 5; i++) for (int k = 0; k < 3; k++) body[i].x[k] += dt * body[i].v[k];
    }
    u64 h = 0;
    for (int i = 0; i < 5; i++) for (int k = 0; k < 3; k++) h = mix(h, bits(body[i].x[k]));
    return h;
}
