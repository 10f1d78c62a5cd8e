/* The register-pattern checker, after the manner of the kernel's fp-stress tests: 40 generations of a pattern. */
#include "lib.h"

void pattern_fill(long, long, uint64_t whose, uint64_t g);
long pattern_check(uint64_t *found, long, uint64_t whose, uint64_t g);

int main(void)
{
    uint64_t whose, found[2];

    asm volatile("mrs %0, tpidr_el0" : "=r"(whose)); /* a number the kernel gives each context */
    whose <<= 48;
    for (uint64_t g = 1; g <= 40; g++) {
        long wrong;

        pattern_fill(0, 0, whose, g);
        if (g % 2)
            pause((unsigned)g / 2);
        for (volatile int wait = 0; wait < 300; wait++)
            ;
        wrong = pattern_check(found, 0, whose, g);
        if (wrong >= 0) {
            put("fpregs generation ");
            put_hex(g);
            put(" register ");
            put_hex((uint64_t)wrong);
            put(" holds ");
            put_hex(found[1]);
            put("\n");
            return 1;
        }
    }
    put("fpregs 40 generations\n");
    return 0;
}
