/*
 * For a machine with SVE, of any vector length: a sum of products under predicates, and the length of a string by
 * first-faulting loads. Between its steps Z, P and FFR hold what the next one needs; results do not depend on the length.
 */
#include "lib.h"
#include <arm_sve.h>

static uint64_t a[203], b[203];
static char text[300];

int main(void)
{
    uint64_t sum = FNV_START;

    for (int i = 0; i < 203; i++) {
        a[i] = (uint64_t)(i * 7 % 31);
        b[i] = (uint64_t)(i * i % 17);
    }
    for (int i = 0; i < 299; i++)
        text[i] = (char)('a' + i % 26);
    for (unsigned round = 1; round <= 12; round++) {
        svuint64_t total = svdup_u64(0);
        unsigned n = 17 * round - 1;
        uint64_t i = 0;
        svbool_t p = svwhilelt_b64_u64(0, n);

        while (svptest_any(svptrue_b64(), p)) {
            svuint64_t x = svld1_u64(p, a + i), y = svld1_u64(p, b + i);

            total = svmla_u64_m(p, total, x, y);
            if (round % 4 == 0)
                pause(round);
            i += svcntd();
            p = svwhilelt_b64_u64(i, n);
        }
        sum = fnv(sum, svaddv_u64(svptrue_b64(), total));
        text[25 * round - 3] = 0;
        svsetffr();
        for (i = 0;; ) {
            svint8_t c = svldff1_s8(svptrue_b8(), (const int8_t *)text + i);
            svbool_t got = svrdffr();
            svbool_t end = svcmpeq_n_s8(got, c, 0);

            if (svptest_any(got, end)) {
                i += svcntp_b8(got, svbrkb_b_z(got, end));
                break;
            }
            i += svcntp_b8(got, got);
            svsetffr();
        }
        sum = fnv(sum, i);
        text[25 * round - 3] = 'x';
    }
    put("sve ");
    put_hex(sum);
    put("\n");
    return 0;
}
