/* Iteration counts of a 48 x 24 picture of the Mandelbrot set, two points at a time in double. */
#include "lib.h"

enum { WIDTH = 48, HEIGHT = 24, LIMIT = 64 };

int main(void)
{
    uint64_t sum = FNV_START;
    const float64x2_t two = vdupq_n_f64(2.0), four = vdupq_n_f64(4.0);
    const uint64x2_t one = vdupq_n_u64(1);

    for (int y = 0; y < HEIGHT; y++) {
        float64x2_t ci = vdupq_n_f64(-1.5 + 0.125 * y);

        for (int x = 0; x < WIDTH; x += 2) {
            float64x2_t cr = {-2.25 + 0.0625 * x, -2.25 + 0.0625 * (x + 1)};
            float64x2_t zr = vdupq_n_f64(0), zi = zr;
            uint64x2_t count = vdupq_n_u64(0), inside;

            for (int i = 0; i < LIMIT; i++) {
                float64x2_t rr = vmulq_f64(zr, zr), ii = vmulq_f64(zi, zi);

                inside = vcleq_f64(vaddq_f64(rr, ii), four);
                if (!(vgetq_lane_u64(inside, 0) | vgetq_lane_u64(inside, 1)))
                    break;
                count = vaddq_u64(count, vandq_u64(inside, one));
                zi = vaddq_f64(vmulq_f64(two, vmulq_f64(zr, zi)), ci);
                zr = vaddq_f64(vsubq_f64(rr, ii), cr);
            }
            sum = fnv(sum, vgetq_lane_u64(count, 0));
            sum = fnv(sum, vgetq_lane_u64(count, 1));
        }
        pause((unsigned)y);
    }
    put("mandelbrot ");
    put_hex(sum);
    put("\n");
    return 0;
}
