/* ChaCha20 (RFC 8439) keystream, 16 blocks, four blocks at once, one in each lane: 16 V registers of state. */
#include "lib.h"

#define ROL(x, n) vorrq_u32(vshlq_n_u32(x, n), vshrq_n_u32(x, 32 - (n)))
#define QUARTER(a, b, c, d)                                                                                            \
    do {                                                                                                               \
        s[a] = vaddq_u32(s[a], s[b]), s[d] = ROL(veorq_u32(s[d], s[a]), 16);                                           \
        s[c] = vaddq_u32(s[c], s[d]), s[b] = ROL(veorq_u32(s[b], s[c]), 12);                                           \
        s[a] = vaddq_u32(s[a], s[b]), s[d] = ROL(veorq_u32(s[d], s[a]), 8);                                            \
        s[c] = vaddq_u32(s[c], s[d]), s[b] = ROL(veorq_u32(s[b], s[c]), 7);                                            \
    } while (0)

int main(void)
{
    /* section 2.3.2: key 00 01 .. 1f, nonce 00 00 00 09 00 00 00 4a 00 00 00 00, counter from 1 */
    static const uint32_t first[16] = {
        0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, 0x03020100, 0x07060504, 0x0b0a0908, 0x0f0e0d0c,
        0x13121110, 0x17161514, 0x1b1a1918, 0x1f1e1d1c, 1,          0x09000000, 0x4a000000, 0,
    };
    uint64_t sum = FNV_START;
    uint32_t out[16][4];

    for (uint32_t group = 0; group < 4; group++) {
        uint32x4_t s[16], t[16];
        const uint32x4_t lane = {0, 1, 2, 3};

        for (int i = 0; i < 16; i++)
            s[i] = vdupq_n_u32(first[i]);
        s[12] = vaddq_u32(s[12], vaddq_u32(lane, vdupq_n_u32(4 * group)));
        for (int i = 0; i < 16; i++)
            t[i] = s[i];
        for (unsigned round = 0; round < 10; round++) {
            QUARTER(0, 4, 8, 12);
            QUARTER(1, 5, 9, 13);
            QUARTER(2, 6, 10, 14);
            QUARTER(3, 7, 11, 15);
            if (round % 3 == 1)
                pause(round / 3 + group);
            QUARTER(0, 5, 10, 15);
            QUARTER(1, 6, 11, 12);
            QUARTER(2, 7, 8, 13);
            QUARTER(3, 4, 9, 14);
        }
        for (int i = 0; i < 16; i++)
            vst1q_u32(out[i], vaddq_u32(s[i], t[i]));
        for (int l = 0; l < 4; l++)
            for (int i = 0; i < 16; i++)
                sum = fnv(sum, out[i][l]);
    }
    put("chacha20 ");
    put_hex(sum);
    put("\n");
    return 0;
}
