/*
 * For a machine with SVE, of any vector length: a sum of products under predicates, and the length of a string by
 * first-faulting loads. Between instructions Z, P and FFR hold what is needed; results do not depend on the length.
 */
#include "lib.h"
#include <arm_sve.h>

static uint64_t a[203], b[203];
static char text[300];

/* A system call may discard all of Z but V, and P and FFR: the compiler must not keep anything there across one. */
static inline void discarded(void)
{
    asm volatile("" ::: "z0", "z1", "z2", "z3", "z4", "z5", "z6", "z7", "z8", "z9", "z10", "z11", "z12", "z13", "z14",
                 "z15", "z16", "z17", "z18", "z19", "z20", "z21", "z22", "z23", "z24", "z25", "z26", "z27", "z28",
                 "z29", "z30", "z31", "p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "p9", "p10", "p11", "p12",
                 "p13", "p14", "p15", "ffr");
}

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
        pause(round);
        discarded();
    }
    put("sve ");
    put_hex(sum);
    put("\n");
    return 0;
}
