/* SHA-256 (FIPS 180-4) of four one-block messages at once, one in each lane. Message l is "fpstate 0" + l. */
#include "lib.h"

static const uint32_t k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};
static const uint32_t start[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

#define ROR(x, n) vorrq_u32(vshrq_n_u32(x, n), vshlq_n_u32(x, 32 - (n)))
#define XOR3(a, b, c) veorq_u32(veorq_u32(a, b), c)

int main(void)
{
    uint32_t word[16][4] = {0};
    uint32x4_t w[16], s[8], h[8];
    static const char text[] = "fpstate 00";

    for (int l = 0; l < 4; l++) {
        uint8_t block[64] = {0};

        for (int i = 0; i < 10; i++)
            block[i] = (uint8_t)text[i];
        block[9] = (uint8_t)(block[9] + l);
        block[10] = 0x80;
        block[63] = 80;
        for (int i = 0; i < 16; i++)
            word[i][l] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
                         (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    }
    for (int i = 0; i < 16; i++)
        w[i] = vld1q_u32(word[i]);
    for (int i = 0; i < 8; i++)
        h[i] = s[i] = vdupq_n_u32(start[i]);
#pragma GCC unroll 16
    for (int i = 0; i < 64; i++) {
        uint32x4_t t1, t2;

        if (i >= 16) {
            uint32x4_t a = w[(i + 1) % 16], b = w[(i + 14) % 16];

            w[i % 16] = vaddq_u32(w[i % 16], XOR3(ROR(a, 7), ROR(a, 18), vshrq_n_u32(a, 3)));
            w[i % 16] = vaddq_u32(w[i % 16], w[(i + 9) % 16]);
            w[i % 16] = vaddq_u32(w[i % 16], XOR3(ROR(b, 17), ROR(b, 19), vshrq_n_u32(b, 10)));
        }
        t1 = vaddq_u32(s[7], XOR3(ROR(s[4], 6), ROR(s[4], 11), ROR(s[4], 25)));
        t1 = vaddq_u32(t1, vaddq_u32(vbslq_u32(s[4], s[5], s[6]), vdupq_n_u32(k[i])));
        t1 = vaddq_u32(t1, w[i % 16]);
        t2 = vbslq_u32(veorq_u32(s[0], s[1]), s[2], s[1]);
        t2 = vaddq_u32(t2, XOR3(ROR(s[0], 2), ROR(s[0], 13), ROR(s[0], 22)));
        s[7] = s[6], s[6] = s[5], s[5] = s[4];
        s[4] = vaddq_u32(s[3], t1);
        s[3] = s[2], s[2] = s[1], s[1] = s[0];
        s[0] = vaddq_u32(t1, t2);
        if (i % 4 == 3)
            pause((unsigned)i / 4);
    }
    put("sha256 ");
    for (int i = 0; i < 8; i++)
        vst1q_u32(word[i], vaddq_u32(h[i], s[i]));
    for (int l = 0; l < 4; l++)
        for (int i = 0; i < 8; i += 2)
            put_hex((uint64_t)word[i][l] << 32 | word[i + 1][l]);
    put("\n");
    return 0;
}
