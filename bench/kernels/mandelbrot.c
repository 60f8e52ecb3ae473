/* The Mandelbrot set on an n by n grid, at most 100 steps a point: f64 in a loop with an unforeseeable end. */
#include "kernel.h"

KERNEL i64 run(i32 n) {
    u64 h = 0, total = 0;
    for (i32 py = 0; py < n; py++)
        for (i32 px = 0; px < n; px++) {
            double cx = -2.0 + 2.5 * px / n, cy = -1.25 + 2.5 * py / n, x = 0, y = 0;
            u32 steps = 0;
            while (steps < 100 && x * x + y * y <= 4.0) {
                double t = x * x - y * y + cx;
                y = 2 * x * y + cy;
                x = t;
                steps++;
            }
            total += steps;
            h = mix(h, total);
        }
    return h;
}
