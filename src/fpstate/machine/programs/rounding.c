/* Rounding modes and exception flags: FPCR and FPSR are state too. Each mode is held through several pauses. */
#include "lib.h"

static inline void set_fpcr(uint64_t v) { asm volatile("msr fpcr, %0" ::"r"(v)); }
static inline void set_fpsr(uint64_t v) { asm volatile("msr fpsr, %0" ::"r"(v)); }

static inline uint64_t get_fpsr(void)
{
    uint64_t v;

    asm volatile("mrs %0, fpsr" : "=r"(v));
    return v;
}

static inline double divide(double a, double b)
{
    double q;

    asm volatile("fdiv %d0, %d1, %d2" : "=w"(q) : "w"(a), "w"(b));
    return q;
}

int main(void)
{
    uint64_t sum = FNV_START;

    for (uint64_t mode = 0; mode < 4; mode++) {
        double total = 0;

        set_fpcr(mode << 22);
        set_fpsr(0);
        if (mode & 1)
            (void)divide(1, 0); /* sets DZC, which must stay */
        for (unsigned i = 1; i < 40; i++) {
            asm volatile("fadd %d0, %d0, %d1" : "+w"(total) : "w"(divide(1, 3.0 * i)));
            if (i % 8 == 0)
                pause((unsigned)mode + i / 8);
        }
        sum = fnv(sum, vget_lane_u64(vreinterpret_u64_f64(vdup_n_f64(total)), 0));
        sum = fnv(sum, get_fpsr());
    }
    set_fpcr(0);
    put("rounding ");
    put_hex(sum);
    put("\n");
    return 0;
}
