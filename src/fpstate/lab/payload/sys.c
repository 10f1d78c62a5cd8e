/* What sys.h declares, and the start of the program. */
#include "sys.h"

/* Older kernels (5.10) do not load a program whose writable segment has nothing in the file. */
__attribute__((used)) static volatile u32 in_the_file = 1;

void *memset(void *to, int c, unsigned long n)
{
	for (volatile char *p = to; n--; p++)
		*p = (char)c;
	return to;
}

void *memcpy(void *to, const void *from, unsigned long n)
{
	volatile char *p = to;
	for (const char *q = from; n--;)
		*p++ = *q++;
	return to;
}

unsigned long strlen(const char *s)
{
	unsigned long n = 0;
	while (s[n])
		n++;
	return n;
}

int equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

const char *after(const char *s, const char *prefix)
{
	while (*prefix && *s == *prefix)
		s++, prefix++;
	return *prefix ? 0 : s;
}

u64 number(const char *s)
{
	u64 v = 0;
	if (after(s, "0x")) {
		for (s += 2; *s; s++)
			v = v * 16 + (u64)(*s <= '9' ? *s - '0' : (*s | 32) - 'a' + 10);
		return v;
	}
	for (; *s >= '0' && *s <= '9'; s++)
		v = v * 10 + (u64)(*s - '0');
	return v;
}

void put(struct text *t, const char *s)
{
	while (*s && t->n < sizeof t->s)
		t->s[t->n++] = *s++;
}

void put_number(struct text *t, s64 v)
{
	char digits[24];
	int i = sizeof digits - 1;
	u64 u = v < 0 ? -(u64)v : (u64)v;
	digits[i] = 0;
	do
		digits[--i] = (char)('0' + u % 10);
	while (u /= 10);
	if (v < 0)
		digits[--i] = '-';
	put(t, digits + i);
}

/* Semihosting (Arm, "Semihosting for AArch32 and AArch64"): the operation in w0, its parameters at x1. */
static long host(long operation, const void *parameters)
{
	register long x0 __asm__("x0") = operation;
	register const void *x1 __asm__("x1") = parameters;
	__asm__ volatile("hlt #0xf000" : "+r"(x0) : "r"(x1) : "memory", "cc");
	return x0;
}

long host_open(const char *name, int append)
{
	u64 p[3] = {(u64)name, append ? 9 : 5, strlen(name)}; /* "ab", "wb" */
	long file = host(0x01, p);
	if (append) { /* QEMU begins to write at the start all the same */
		u64 whole[1] = {(u64)file};
		u64 end[2] = {(u64)file, (u64)host(0x0c, whole)};
		host(0x0a, end);
	}
	return file;
}

void host_write(long file, const void *data, unsigned long n)
{
	u64 p[3] = {(u64)file, (u64)data, n};
	host(0x05, p);
}

void host_close(long file)
{
	u64 p[1] = {(u64)file};
	host(0x02, p);
}

void tell(const char *what, const char *about, s64 number)
{
	struct text t = {.n = 0};
	put(&t, what);
	put(&t, "\t");
	put(&t, about);
	put(&t, "\t");
	put_number(&t, number);
	put(&t, "\n");
	long file = host_open("log", 1);
	host_write(file, t.s, t.n);
	host_close(file);
}

_Noreturn void fail(const char *what, const char *about, s64 error)
{
	tell(what, about, error);
	leave(1);
}

void sleep_us(u64 us)
{
	u64 time[2] = {us / 1000000, us % 1000000 * 1000};
	sys2(NR_nanosleep, time, 0);
}

_Noreturn void leave(int status)
{
	for (;;)
		sys1(NR_exit_group, status);
}

long fork_self(void) { return sys6(NR_clone, SIGCHLD, 0, 0, 0, 0, 0); }

/* CLONE_VM | FS | FILES | SIGHAND | THREAD | SYSVSEM | CHILD_CLEARTID | CHILD_SETTID */
#define THREAD 0x1250f00l

__asm__(".text\n"
	"clone_thread:\n"
	"	mov x8, #220\n"
	"	svc #0\n"
	"	cbnz x0, 1f\n"
	"	ldp x1, x0, [sp]\n"
	"	blr x1\n"
	"	mov x0, #0\n"
	"	mov x8, #93\n"
	"	svc #0\n"
	"1:	ret\n");
long clone_thread(long flags, void *stack, u32 *parent_tid, void *tls, u32 *child_tid);

long fork_thread(void *stack_top, void (*run)(void *), void *arg, u32 *alive)
{
	u64 *stack = (u64 *)stack_top - 2;
	stack[0] = (u64)run;
	stack[1] = (u64)arg;
	*alive = 1;
	return clone_thread(THREAD, stack, 0, 0, alive);
}

void pin(u64 cpus)
{
	long error = sys3(NR_sched_setaffinity, 0, sizeof cpus, &cpus);
	if (error < 0)
		fail("cannot pin to CPUs", "mask", (s64)cpus);
}

u64 setting(char **args, const char *name, u64 otherwise)
{
	for (; *args; args++) {
		const char *value = after(*args, name);
		if (value && *value == '=')
			return number(value + 1);
	}
	return otherwise;
}

static int nothing(char **args)
{
	(void)args;
	return 0;
}

static const struct {
	const char *name;
	int (*run)(char **);
} roles[] = {
	{"vmm", vmm}, {"fp", task_fp}, {"int", task_int}, {"sve", task_sve}, {"hash", task_hash}, {"signals", task_signals},
	{"ptrace", task_ptrace}, {"storm", task_storm}, {"hotplug", task_hotplug}, {"nothing", nothing},
};

/* The kernel starts us at _start with argc and argv on the stack. */
__asm__(".globl _start\n_start:\n	mov x29, #0\n	mov x30, #0\n	mov x0, sp\n	bl begin\n");
_Noreturn void begin(long *stack);
_Noreturn void begin(long *stack)
{
	long count = stack[0];
	char **args = (char **)(stack + 1);
	if (sys0(NR_getpid) == 1)
		init();
	for (unsigned i = 0; count > 1 && i < sizeof roles / sizeof *roles; i++)
		if (equal(args[1], roles[i].name))
			leave(roles[i].run(args + 2));
	fail("unknown role", count > 1 ? args[1] : "", 0);
}
