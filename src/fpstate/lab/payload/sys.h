/* System calls, strings, numbers and the way to the host: all the payload has instead of a C library.
 *
 * Everything is compiled with -mgeneral-regs-only, so FP and SVE are used exactly where asm says so.
 */
#ifndef SYS_H
#define SYS_H

#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t s64;

enum {
	NR_dup3 = 24, NR_ioctl = 29, NR_mkdirat = 34, NR_mount = 40, NR_openat = 56, NR_close = 57, NR_read = 63, NR_write = 64,
	NR_exit = 93, NR_exit_group = 94, NR_futex = 98, NR_nanosleep = 101, NR_setitimer = 103, NR_sched_setaffinity = 122,
	NR_sched_yield = 124, NR_kill = 129, NR_rt_sigaction = 134, NR_rt_sigreturn = 139, NR_reboot = 142, NR_prctl = 167,
	NR_getpid = 172, NR_getppid = 173, NR_gettid = 178, NR_socket = 198, NR_bind = 200, NR_accept = 202, NR_clone = 220,
	NR_execve = 221, NR_mmap = 222, NR_wait4 = 260, NR_finit_module = 273, NR_ptrace = 117,
	PR_SVE_SET_VL = 50,
};

static inline long sys(long nr, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = nr, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory", "cc");
	return x0;
}

#define sys0(n) sys(n, 0, 0, 0, 0, 0, 0)
#define sys1(n, a) sys(n, (long)(a), 0, 0, 0, 0, 0)
#define sys2(n, a, b) sys(n, (long)(a), (long)(b), 0, 0, 0, 0)
#define sys3(n, a, b, c) sys(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define sys4(n, a, b, c, d) sys(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define sys6(n, a, b, c, d, e, f) sys(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

#define AT_FDCWD (-100)
#define O_RDONLY 0
#define O_WRONLY 1
#define O_RDWR 2
#define O_NONBLOCK 04000
#define SIGCHLD 17
#define SIGKILL 9
#define SIGUSR1 10
#define SIGALRM 14

static inline long open_file(const char *path, int flags) { return sys4(NR_openat, AT_FDCWD, path, flags, 0600); }

void *memset(void *to, int c, unsigned long n);
void *memcpy(void *to, const void *from, unsigned long n);
unsigned long strlen(const char *s);
int equal(const char *a, const char *b);
const char *after(const char *s, const char *prefix); /* what follows `prefix` in `s`, or null */
u64 number(const char *s);

/* A line of text under construction; what does not fit is cut. */
struct text {
	char s[512];
	unsigned n;
};
void put(struct text *t, const char *s);
void put_number(struct text *t, s64 v);

/* The host: files in the directory QEMU runs in, through semihosting. */
long host_open(const char *name, int append);
void host_write(long file, const void *data, unsigned long n);
void host_close(long file);
void tell(const char *what, const char *about, s64 number); /* one line in the host's file `log` */
_Noreturn void fail(const char *what, const char *about, s64 error);

void sleep_us(u64 us);
_Noreturn void leave(int status);
long fork_self(void);
long fork_thread(void *stack_top, void (*run)(void *), void *arg, u32 *alive);
void pin(u64 cpus);

/* An actor's settings, `name=number` each, after its role. */
u64 setting(char **args, const char *name, u64 otherwise);

int vmm(char **args);
int task_fp(char **args);
int task_int(char **args);
int task_sve(char **args);
int task_hash(char **args);
int task_signals(char **args);
int task_ptrace(char **args);
int task_storm(char **args);
int task_hotplug(char **args);
_Noreturn void init(void);

#endif
