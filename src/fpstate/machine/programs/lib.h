/* What all programs share. A program runs as a host task (svc) or as a guest (hvc), told by x0 at its start. */
#ifndef LIB_H
#define LIB_H

#include <arm_neon.h>
#include <stdint.h>

enum { CALL_KVM_RUN = 29, CALL_WRITE = 64, CALL_EXIT = 93, CALL_YIELD = 124, CALL_HASH = 1000 };

#define DEVICE ((volatile uint64_t *)0x9000000) /* a page that is not mapped: a guest's access goes to its VMM */

extern int in_guest; /* set by _start */

static inline long call(long number, long a, long b, long c)
{
    register long x8 asm("x8") = number;
    register long x0 asm("x0") = a;
    register long x1 asm("x1") = b;
    register long x2 asm("x2") = c;

    if (in_guest)
        asm volatile("hvc #0" : "+r"(x0) : "r"(x1), "r"(x2), "r"(x8) : "memory");
    else
        asm volatile("svc #0" : "+r"(x0) : "r"(x1), "r"(x2), "r"(x8) : "memory");
    return x0;
}

static inline void put(const char *text)
{
    long n = 0;

    while (text[n])
        n++;
    call(CALL_WRITE, 1, (long)text, n);
}

static inline void put_hex(uint64_t value)
{
    char text[17];

    for (int i = 0; i < 16; i++)
        text[i] = "0123456789abcdef"[value >> (60 - 4 * i) & 15];
    text[16] = 0;
    put(text);
}

/* FNV-1a over 64-bit words: what programs print of their results. */
static inline uint64_t fnv(uint64_t hash, uint64_t word)
{
    return (hash ^ word) * 0x100000001b3UL;
}
#define FNV_START 0xcbf29ce484222325UL

/* Leave to the kernel or the hypervisor for a moment, each time in another way; FP state must come through. */
static inline void pause(unsigned turn)
{
    static uint64_t text[8] = {1, 2, 3, 4, 5, 6, 7, 8};

    if (in_guest) {
        if (turn % 4 == 0)
            call(CALL_YIELD, 0, 0, 0);
        else if (turn % 4 == 1)
            *DEVICE = turn;
        else if (turn % 4 == 2)
            asm volatile("wfi" ::: "memory");
        else
            (void)*DEVICE;
    } else if (turn % 2 == 0) {
        call(CALL_YIELD, 0, 0, 0);
    } else {
        call(CALL_HASH, (long)text, sizeof(text), 0);
    }
}

#endif
