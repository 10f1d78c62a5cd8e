/* The VMM: runs its vCPU, serves its device, and keeps a sum of all it was told in V registers meanwhile. */
#include "lib.h"

enum { REASON_MMIO = 1, REASON_END = 2 };

struct run {
    uint64_t reason, address, data, bytes, is_write;
};
#define RUN ((volatile struct run *)0x8000000) /* shared with the kernel, as kvm_run is */

int main(void)
{
    float64x2_t sum[8];
    uint64_t hash = FNV_START, accesses = 0;

    for (int i = 0; i < 8; i++)
        sum[i] = vdupq_n_f64(i);
    for (;;) {
        call(CALL_KVM_RUN, 0, 0, 0);
        if (RUN->reason == REASON_END)
            break;
        if (RUN->reason != REASON_MMIO)
            continue;
        accesses++;
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++)
            sum[i] = vaddq_f64(vmulq_n_f64(sum[i], 0.75), vdupq_n_f64((double)(RUN->address + accesses)));
        if (RUN->is_write)
            sum[0] = vaddq_f64(sum[0], vdupq_n_f64((double)RUN->data));
        else
            RUN->data = accesses;
    }
    for (int i = 0; i < 8; i++)
        hash = fnv(hash, vgetq_lane_u64(vreinterpretq_u64_f64(sum[i]), 0));
    put("vmm ");
    put_hex(hash);
    put("\n");
    return 0;
}
