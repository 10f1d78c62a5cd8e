/* Cyclic convolution of two sequences of 64 integers by FFT in double; a complex number is one V register. */
#include "lib.h"

enum { N = 64, LOG = 6 };
static float64x2_t x[N], y[N], root[N / 2];

static float64x2_t times(float64x2_t a, float64x2_t b)
{
    double ar = vgetq_lane_f64(a, 0), ai = vgetq_lane_f64(a, 1);
    float64x2_t turned = {-vgetq_lane_f64(b, 1), vgetq_lane_f64(b, 0)};

    return vaddq_f64(vmulq_n_f64(b, ar), vmulq_n_f64(turned, ai));
}

static void transform(float64x2_t *z, int inverse)
{
    for (int i = 0; i < N; i++) {
        int r = 0;

        for (int bit = 0; bit < LOG; bit++)
            r |= (i >> bit & 1) << (LOG - 1 - bit);
        if (r > i) {
            float64x2_t kept = z[i];
            z[i] = z[r];
            z[r] = kept;
        }
    }
    for (int half = 1; half < N; half *= 2) {
        for (int k = 0; k < half; k++) {
            float64x2_t w = root[k * (N / 2 / half)];

            if (inverse)
                w = (float64x2_t){vgetq_lane_f64(w, 0), -vgetq_lane_f64(w, 1)};
            for (int i = k; i < N; i += 2 * half) {
                float64x2_t odd = times(w, z[i + half]);

                z[i + half] = vsubq_f64(z[i], odd);
                z[i] = vaddq_f64(z[i], odd);
            }
            if (k % 4 == 1)
                pause((unsigned)(half + k));
        }
    }
}

int main(void)
{
    /* exp(-2 pi i / 64), and from it its powers */
    float64x2_t step = {0.99518472667219693, -0.098017140329560604}, w = {1.0, 0.0};
    uint64_t sum = FNV_START;

    for (int i = 0; i < N / 2; i++) {
        root[i] = w;
        w = times(w, step);
    }
    for (int i = 0; i < N; i++) {
        x[i] = (float64x2_t){i * 3 % 17 - 8, 0};
        y[i] = (float64x2_t){i * i % 23 - 11, 0};
    }
    transform(x, 0);
    transform(y, 0);
    for (int i = 0; i < N; i++)
        x[i] = times(x[i], y[i]);
    transform(x, 1);
    for (int i = 0; i < N; i++)
        sum = fnv(sum, (uint64_t)vcvtnd_s64_f64(vgetq_lane_f64(x[i], 0) / N));
    put("fft ");
    put_hex(sum);
    put("\n");
    return 0;
}
