/* Product of two 32 x 32 matrices of small integers in float, a row of the result in eight V registers at a time. */
#include "lib.h"

enum { N = 32 };
static float a[N][N], b[N][N];

int main(void)
{
    uint64_t sum = FNV_START;

    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i][j] = (float)((i * 7 + j * 3) % 11 - 5);
            b[i][j] = (float)((i * 5 + j * 9) % 13 - 6);
        }
    for (int i = 0; i < N; i++) {
        float32x4_t row[N / 4];

        for (int v = 0; v < N / 4; v++)
            row[v] = vdupq_n_f32(0);
        for (int k = 0; k < N; k++) {
            for (int v = 0; v < N / 4; v++)
                row[v] = vfmaq_n_f32(row[v], vld1q_f32(&b[k][4 * v]), a[i][k]);
            if (k == N / 2)
                pause((unsigned)i);
        }
        for (int v = 0; v < N / 4; v++) {
            float out[4];

            vst1q_f32(out, row[v]);
            for (int l = 0; l < 4; l++)
                sum = fnv(sum, (uint64_t)(int64_t)out[l]);
        }
    }
    put("matrix ");
    put_hex(sum);
    put("\n");
    return 0;
}
