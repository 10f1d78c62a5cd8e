/*
 * A child gets old registers, if a debugger has written its parent's SVE registers in the middle of the fork.
 *
 *     aarch64-linux-gnu-gcc -O1 -static -nostdlib -mgeneral-regs-only -o old_registers old_registers_after_fork.c
 *
 * The parent holds 0x1111 in V0 and forks; its debugger stops it as it enters the system call, and writes 0x77 into all
 * bytes of its SVE registers. Both must then find 0x7777777777777777 there. It runs as any program on arm64 with SVE, and
 * as /init of an emulated machine.
 */
typedef unsigned long u64;
typedef unsigned int u32;
typedef unsigned short u16;

enum { WRITE = 64, EXIT = 93, PTRACE = 117, KILL = 129, GETPID = 172, CLONE = 220, WAIT4 = 260, SLEEP = 101 };
enum { TRACEME = 0, CONT = 7, TO_SYSCALL = 24, GETREGSET = 0x4204, SETREGSET = 0x4205, NT_ARM_SVE = 0x405 };
enum { SIGCHLD = 17, SIGSTOP = 19 };

static struct {
	u32 size, most;
	u16 length, longest, flags, reserved;
	unsigned char registers[34 * 256 + 64];
} written;
static u64 found[2];

static long call(long number, long a, long b, long c, long d)
{
	register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c, x3 __asm__("x3") = d;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
}

static void tell(const char *who, u64 value)
{
	char line[64];
	int n = 0;
	while (who[n]) {
		line[n] = who[n];
		n++;
	}
	for (int i = 60; i >= 0; i -= 4)
		line[n++] = "0123456789abcdef"[value >> i & 15];
	line[n++] = '\n';
	call(WRITE, 1, (long)line, n, 0);
}

static void traced(void)
{
	call(PTRACE, TRACEME, 0, 0, 0);
	call(KILL, call(GETPID, 0, 0, 0, 0), SIGSTOP, 0, 0);
	register long x8 __asm__("x8") = CLONE, x0 __asm__("x0") = SIGCHLD, x1 __asm__("x1") = 0;
	register long x2 __asm__("x2") = 0, x3 __asm__("x3") = 0, x4 __asm__("x4") = 0;
	__asm__ volatile("mov x9, #0x1111\n"
			 "dup v0.2d, x9\n"
			 "svc 0\n"
			 "str q0, [%6]\n"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(found)
			 : "x9", "memory");
	tell(x0 ? "parent: V0 = " : "child:  V0 = ", found[0]);
	call(EXIT, 0, 0, 0, 0);
}

void _start(void)
{
	long pid = call(CLONE, SIGCHLD, 0, 0, 0), second[] = {1, 0};
	struct {
		void *at;
		u64 size;
	} regset = {&written, sizeof written};
	if (!pid)
		traced();
	call(WAIT4, pid, 0, 0, 0); /* it has stopped itself */
	call(PTRACE, TO_SYSCALL, pid, 0, 0);
	call(WAIT4, pid, 0, 0, 0); /* it has entered the system call */
	call(PTRACE, GETREGSET, pid, NT_ARM_SVE, (long)&regset);
	for (u64 i = 0; i < sizeof written.registers; i++)
		written.registers[i] = 0x77;
	u64 vectors = written.length / 16, size = (16 + 546 * vectors + 15) / 16 * 16 + 8;
	written.flags = 1; /* SVE registers follow */
	written.size = regset.size = (size + 15) / 16 * 16;
	call(PTRACE, SETREGSET, pid, NT_ARM_SVE, (long)&regset);
	call(PTRACE, CONT, pid, 0, 0);
	call(WAIT4, pid, 0, 0, 0);
	call(SLEEP, (long)second, 0, 0, 0);
	call(EXIT, 0, 0, 0, 0);
}
