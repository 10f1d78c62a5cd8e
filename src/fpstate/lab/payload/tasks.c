/* Host tasks. Those that use FP check that their registers hold what they put there. */
#include "sys.h"

/* Put `value` into all of V0-V31, keep it there for `spin` turns of FP work, and return 0 if all still hold it. */
static u64 hold(u64 value, u64 spin)
{
	u64 wrong;
	__asm__ volatile(
		"	fmov d0, %1\n"
		"	.irp r, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30\n"
		"	fmov d\\r, d0\n"
		"	.endr\n"
		"	mov x9, %2\n"
		"1:	mov v31.16b, v0.16b\n"
		"	subs x9, x9, #1\n"
		"	b.gt 1b\n"
		"	mov %0, #0\n"
		"	.irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30\n"
		"	fmov x9, d\\r\n"
		"	eor x9, x9, %1\n"
		"	orr %0, %0, x9\n"
		"	.endr\n"
		: "=&r"(wrong)
		: "r"(value), "r"(spin)
		: "x9", "cc");
	return wrong;
}

static void spin(u64 n)
{
	__asm__ volatile("1:	subs %0, %0, #1\n	b.gt 1b\n" : "+r"(n) : : "cc");
}

static u64 seed(void) { return 0x9e3779b97f4a7c15ul * (u64)(sys0(NR_getpid) + 1); }

/* fp: turns (0 for ever), spin (turns of FP work), sleep (us after each turn), yield (1: after each turn). */
int task_fp(char **args)
{
	u64 turns = setting(args, "turns", 0), work = setting(args, "spin", 100000), rest = setting(args, "sleep", 0);
	u64 yields = setting(args, "yield", 0), value = seed();
	for (u64 i = 0; !turns || i < turns; i++) {
		if (hold(value + i, work))
			fail("FP registers changed under a task", "fp", (s64)i);
		if (rest)
			sleep_us(rest);
		if (yields)
			sys0(NR_sched_yield);
	}
	return 0;
}

/* int: the same without FP. */
int task_int(char **args)
{
	u64 turns = setting(args, "turns", 0), work = setting(args, "spin", 100000), rest = setting(args, "sleep", 0);
	u64 yields = setting(args, "yield", 0);
	for (u64 i = 0; !turns || i < turns; i++) {
		spin(work);
		if (rest)
			sleep_us(rest);
		if (yields)
			sys0(NR_sched_yield);
	}
	return 0;
}

/* Put `value` into all of Z0-Z31 and P0, keep it, and return 0 if all still hold it over their whole length. */
static u64 hold_sve(u64 value, u64 spin)
{
	u64 wrong;
	__asm__ volatile(
		"	.arch armv8-a+sve\n"
		"	ptrue p0.b\n"
		"	.irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
		"	dup z\\r\\().d, %1\n"
		"	.endr\n"
		"	mov x9, %2\n"
		"1:	mov z31.d, z0.d\n"
		"	subs x9, x9, #1\n"
		"	b.gt 1b\n"
		"	dup z31.d, %1\n"
		"	.irp r, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30\n"
		"	eor z0.d, z0.d, z\\r\\().d\n" /* 31 equal values: z0 ^ z1..z30 = value */
		"	.endr\n"
		"	eor z0.d, z0.d, z31.d\n"
		"	orv d0, p0, z0.d\n"
		"	fmov %0, d0\n"
		: "=&r"(wrong)
		: "r"(value), "r"(spin)
		: "x9", "cc");
	return wrong;
}

/* Put `value` into all of Z0-Z31, ask for a vector length of so many bytes, and return 0 if V0-V31 still hold it. */
static u64 hold_over_new_length(u64 value, u64 bytes)
{
	u64 wrong;
	__asm__ volatile(
		"	.arch armv8-a+sve\n"
		"	.irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
		"	dup z\\r\\().d, %1\n"
		"	.endr\n"
		"	mov x8, %3\n"
		"	mov x0, %4\n"
		"	mov x1, %2\n"
		"	mov x2, xzr\n"
		"	mov x3, xzr\n"
		"	mov x4, xzr\n"
		"	svc 0\n"
		"	mov %0, xzr\n"
		"	.irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
		"	mov x9, v\\r\\().d[0]\n"
		"	eor x9, x9, %1\n"
		"	orr %0, %0, x9\n"
		"	mov x9, v\\r\\().d[1]\n"
		"	eor x9, x9, %1\n"
		"	orr %0, %0, x9\n"
		"	.endr\n"
		: "=&r"(wrong)
		: "r"(value), "r"(bytes), "i"(NR_prctl), "i"(PR_SVE_SET_VL)
		: "x0", "x1", "x2", "x3", "x4", "x8", "x9", "cc", "memory");
	return wrong;
}

/*
 * sve: as fp, with SVE registers; calls (1: a system call in the middle of each turn, which drops SVE state), lengths
 * (1: another vector length in each turn, of two).
 */
int task_sve(char **args)
{
	u64 turns = setting(args, "turns", 0), work = setting(args, "spin", 20000), rest = setting(args, "sleep", 0);
	u64 calls = setting(args, "calls", 0), lengths = setting(args, "lengths", 0), value = seed();
	for (u64 i = 0; !turns || i < turns; i++) {
		if (hold_sve(value + i, work))
			fail("SVE registers changed under a task", "sve", (s64)i);
		if (lengths && hold_over_new_length(value + i, i % 2 ? 64 : 32))
			fail("FP registers changed with the vector length", "sve", (s64)i);
		if (calls)
			sys0(NR_getppid);
		if (rest)
			sleep_us(rest);
	}
	return 0;
}

/* hash: turns, bytes hashed each by the kernel (AF_ALG, sha256), fp (1: holds FP registers meanwhile), sleep. */
int task_hash(char **args)
{
	static u8 data[65536];
	struct {
		u16 family;
		char type[14];
		u32 feat, mask;
		char name[64];
	} address = {38, "hash", 0, 0, "sha256"};
	u64 turns = setting(args, "turns", 0), bytes = setting(args, "bytes", 4096), fp = setting(args, "fp", 0);
	u64 rest = setting(args, "sleep", 0), value = seed();
	if (bytes > sizeof data)
		bytes = sizeof data;
	long s = sys3(NR_socket, 38, 5, 0);
	if (s < 0)
		fail("no AF_ALG sockets", "hash", s);
	long error = sys3(NR_bind, s, &address, sizeof address);
	if (error < 0)
		fail("no sha256 in the kernel", "hash", error);
	long op = sys3(NR_accept, s, 0, 0);
	for (u64 i = 0; !turns || i < turns; i++) {
		if (fp && hold(value + i, 1000))
			fail("FP registers changed under a task", "hash", (s64)i);
		if (sys3(NR_write, op, data, bytes) < 0 || sys3(NR_read, op, data, 32) != 32)
			fail("the kernel does not hash", "hash", (s64)i);
		if (rest)
			sleep_us(rest);
	}
	return 0;
}

static volatile u64 handled, handler_fp;
static void on_signal(int signal)
{
	(void)signal;
	handled++;
	if (handler_fp && hold(~handled, 50))
		fail("FP registers changed under a signal handler", "signals", (s64)handled);
}

/* signals: turns, period (us between timer signals, 0 none), self (1: sends itself one each turn), fp (in the handler). */
int task_signals(char **args)
{
	u64 turns = setting(args, "turns", 0), period = setting(args, "period", 2000), self = setting(args, "self", 1);
	u64 work = setting(args, "spin", 20000), own = setting(args, "own", 1), value = seed();
	u64 action[4] = {(u64)on_signal, 0, 0, 0};
	u64 time[4] = {0, period, 0, period};
	handler_fp = setting(args, "fp", 1);
	sys4(NR_rt_sigaction, SIGUSR1, action, 0, 8);
	sys4(NR_rt_sigaction, SIGALRM, action, 0, 8);
	if (period)
		sys3(NR_setitimer, 0, time, 0);
	for (u64 i = 0; !turns || i < turns; i++) {
		if (!own)
			spin(work);
		else if (hold(value + i, work))
			fail("FP registers changed under a task with signals", "signals", (s64)i);
		if (self)
			sys2(NR_kill, sys0(NR_getpid), SIGUSR1);
	}
	return 0;
}

struct fpsimd {
	u64 v[32][2];
	u32 fpsr, fpcr, pad[2];
};

/* ptrace: turns; a child holds V0-V30 and the parent stops it, reads its registers and writes V31. */
int task_ptrace(char **args)
{
	enum { SEIZE = 0x4206, INTERRUPT = 0x4207, GETREGSET = 0x4204, SETREGSET = 0x4205, CONT = 7, PRFPREG = 2 };
	static struct fpsimd regs;
	u64 turns = setting(args, "turns", 50), rest = setting(args, "sleep", 1000), writes = setting(args, "write", 1);
	u64 at[2] = {(u64)&regs, sizeof regs};
	long child = fork_self();
	int status;
	if (!child) {
		u64 value = seed();
		for (u64 i = 0;; i++) {
			if (hold(value + i, 5000))
				fail("FP registers changed under a tracee", "ptrace", (s64)i);
			if (i % 8 == 0)
				sys0(NR_getppid);
		}
	}
	long error = sys4(NR_ptrace, SEIZE, child, 0, 0);
	if (error < 0)
		fail("cannot trace a child", "ptrace", error);
	for (u64 i = 0; i < turns; i++) {
		sleep_us(rest);
		sys4(NR_ptrace, INTERRUPT, child, 0, 0);
		if (sys4(NR_wait4, child, &status, 0x40000000, 0) < 0 || (status & 0xff) != 0x7f)
			fail("a tracee did not stop", "ptrace", (s64)i);
		if ((error = sys4(NR_ptrace, GETREGSET, child, PRFPREG, at)) < 0)
			fail("cannot read a tracee's registers", "ptrace", error);
		regs.v[31][0] = i;
		if (writes && (error = sys4(NR_ptrace, SETREGSET, child, PRFPREG, at)) < 0)
			fail("cannot write a tracee's registers", "ptrace", error);
		sys4(NR_ptrace, CONT, child, 0, 0);
	}
	sys2(NR_kill, child, SIGKILL);
	sys4(NR_wait4, child, &status, 0x40000000, 0);
	return 0;
}

/* storm: turns; a child each, which uses FP (fp=1) and executes a new program (exec=1) or ends. */
int task_storm(char **args)
{
	u64 turns = setting(args, "turns", 50), fp = setting(args, "fp", 1), exec = setting(args, "exec", 1), value = seed();
	int status;
	for (u64 i = 0; i < turns; i++) {
		if (fp && hold(value + i, 100))
			fail("FP registers changed under a task that forks", "storm", (s64)i);
		long child = fork_self();
		if (child < 0)
			fail("cannot fork", "storm", child);
		if (!child) {
			char *arguments[] = {"/payload", "nothing", 0}, *none = 0;
			if (fp && i % 2 && hold(value - i, 100))
				fail("FP registers changed under a child", "storm", (s64)i);
			if (exec && i % 3)
				sys3(NR_execve, "/payload", arguments, &none);
			leave(0);
		}
		sys4(NR_wait4, child, &status, 0x40000000, 0);
	}
	return 0;
}

/* hotplug: turns, cpu, sleep (us between). */
int task_hotplug(char **args)
{
	u64 turns = setting(args, "turns", 3), rest = setting(args, "sleep", 100000), cpu = setting(args, "cpu", 1);
	struct text path = {.n = 0};
	put(&path, "/sys/devices/system/cpu/cpu");
	put_number(&path, (s64)cpu);
	put(&path, "/online");
	path.s[path.n] = 0;
	for (u64 i = 0; i < 2 * turns; i++) {
		sleep_us(rest);
		long file = open_file(path.s, O_WRONLY);
		long error = file < 0 ? file : sys3(NR_write, file, i % 2 ? "1" : "0", 1);
		if (error < 0)
			fail("cannot take a CPU down or up", path.s, error);
		sys1(NR_close, file);
	}
	return 0;
}
