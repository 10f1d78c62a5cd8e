/* Four bodies in a plane under gravity, 120 steps: all positions and velocities stay in V registers. */
#include "lib.h"

enum { BODIES = 4, STEPS = 120 };
static const double mass[BODIES] = {40.0, 0.04, 0.01, 0.02};

int main(void)
{
    float64x2_t p[BODIES] = {{0.0, 0.0}, {4.0, 0.0}, {0.0, -6.0}, {-9.0, 1.0}};
    float64x2_t v[BODIES] = {{0.0, 0.0}, {0.0, 3.0}, {2.5, 0.0}, {0.25, -2.0}};
    const double dt = 0.0078125;
    uint64_t sum = FNV_START;

    for (int step = 0; step < STEPS; step++) {
#pragma GCC unroll 4
        for (int i = 0; i < BODIES; i++)
#pragma GCC unroll 4
            for (int j = i + 1; j < BODIES; j++) {
                float64x2_t d = vsubq_f64(p[i], p[j]);
                float64x2_t squares = vmulq_f64(d, d);
                double r2 = vgetq_lane_f64(squares, 0) + vgetq_lane_f64(squares, 1);
                double r = vget_lane_f64(vsqrt_f64(vdup_n_f64(r2)), 0);
                double pull = dt / (r2 * r);

                v[i] = vsubq_f64(v[i], vmulq_n_f64(d, mass[j] * pull));
                v[j] = vaddq_f64(v[j], vmulq_n_f64(d, mass[i] * pull));
            }
#pragma GCC unroll 4
        for (int i = 0; i < BODIES; i++)
            p[i] = vaddq_f64(p[i], vmulq_n_f64(v[i], dt));
        if (step % 8 == 7)
            pause((unsigned)step / 8);
    }
    for (int i = 0; i < BODIES; i++) {
        uint64x2_t pb = vreinterpretq_u64_f64(p[i]), vb = vreinterpretq_u64_f64(v[i]);

        sum = fnv(fnv(sum, vgetq_lane_u64(pb, 0)), vgetq_lane_u64(pb, 1));
        sum = fnv(fnv(sum, vgetq_lane_u64(vb, 0)), vgetq_lane_u64(vb, 1));
    }
    put("nbody ");
    put_hex(sum);
    put("\n");
    return 0;
}
