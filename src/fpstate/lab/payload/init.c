/* The first process: carries out the lines of /plan, tells the host what failed, and switches the machine off.
 *
 *   module PATH          load a kernel module
 *   write PATH TEXT      write to a file; a failure is told and passed over
 *   copy PATH NAME       copy a file to the host
 *   kvm                  make a VM and keep it, so that KVM patches no code of the kernel while others run
 *   mark                 on each CPU, write its number to the trace
 *   start CPUS ROLE ...  run an actor on CPUs (a mask), until it is done
 *   keep CPUS ROLE ...   the same, until the end
 *   wait MILLISECONDS    until all actors started are done, but at most so long
 *   stop                 end all actors
 *   sleep MILLISECONDS
 */
#include "sys.h"

#define MARKER "/sys/kernel/tracing/trace_marker"
#define ACTORS 64

static struct actor {
	long pid; /* 0: done */
	int kept;
	char role[16];
} actors[ACTORS];
static int n_actors;
static char plan[65536];
static char block[65536];

static void make_directory(const char *path) { sys3(NR_mkdirat, AT_FDCWD, path, 0755); }

static void mount(const char *type, const char *where)
{
	make_directory(where);
	long error = sys6(NR_mount, type, where, type, 0, 0, 0);
	if (error < 0)
		tell("cannot mount", type, error);
}

static void write_file(const char *path, const char *text)
{
	struct text line = {.n = 0};
	put(&line, text);
	put(&line, "\n");
	long file = open_file(path, O_WRONLY);
	long error = file < 0 ? file : sys3(NR_write, file, line.s, line.n);
	if (error < 0) {
		struct text about = {.n = 0};
		put(&about, path);
		put(&about, " ");
		put(&about, text);
		put(&about, "");
		about.s[about.n < sizeof about.s ? about.n : sizeof about.s - 1] = 0;
		tell("not written", about.s, error);
	}
	if (file >= 0)
		sys1(NR_close, file);
}

static void copy_to_host(const char *path, const char *name)
{
	long from = open_file(path, O_RDONLY | O_NONBLOCK); /* /dev/kmsg would wait at its end */
	if (from < 0) {
		tell("not copied", path, from);
		return;
	}
	long to = host_open(name, 0);
	unsigned long have = 0;
	for (long got = 1; got > 0;) {
		got = sys3(NR_read, from, block + have, sizeof block - have);
		if (got > 0)
			have += (unsigned long)got;
		if (have && (got <= 0 || have > sizeof block / 2)) {
			host_write(to, block, have);
			have = 0;
		}
	}
	host_close(to);
	sys1(NR_close, from);
}

static void load_module(const char *path)
{
	long file = open_file(path, O_RDONLY);
	long error = sys3(NR_finit_module, file, "", 0);
	if (error < 0)
		tell("module not loaded", path, error);
	sys1(NR_close, file);
}

static void keep_vm(void)
{
	long kvm = open_file("/dev/kvm", O_RDWR);
	if (kvm >= 0)
		sys3(NR_ioctl, kvm, 0xae01, 0); /* KVM_CREATE_VM */
}

static void mark(void)
{
	long file = open_file(MARKER, O_WRONLY);
	for (u64 cpu = 0; cpu < 64; cpu++) {
		u64 mask = 1ul << cpu;
		struct text line = {.n = 0};
		if (sys3(NR_sched_setaffinity, 0, sizeof mask, &mask) < 0)
			continue;
		put(&line, "fpstate begins on CPU ");
		put_number(&line, (s64)cpu);
		put(&line, "\n");
		sys3(NR_write, file, line.s, line.n);
	}
	sys1(NR_close, file);
	pin(~0ul);
}

/* Cut the next word off `*line`. */
static char *word(char **line)
{
	char *start = *line;
	while (**line && **line != ' ')
		(*line)++;
	if (**line)
		*(*line)++ = 0;
	return start;
}

static void start(char *line, int kept)
{
	char *args[24] = {"/payload"};
	int n = 1;
	u64 cpus = number(word(&line));
	while (*line && n < 23)
		args[n++] = word(&line);
	long pid = fork_self();
	if (pid < 0)
		fail("cannot start", args[1], pid);
	if (!pid) {
		char *none = 0;
		pin(cpus);
		long error = sys3(NR_execve, args[0], args, &none);
		fail("cannot start", args[1], error);
	}
	struct actor *a = &actors[n_actors++ % ACTORS];
	a->pid = pid;
	a->kept = kept;
	memset(a->role, 0, sizeof a->role);
	for (int i = 0; i < 15 && args[1][i]; i++)
		a->role[i] = args[1][i];
}

static int unfinished(int kept)
{
	int n = 0;
	for (int i = 0; i < ACTORS; i++)
		n += actors[i].pid && actors[i].kept <= kept;
	return n;
}

static void reap(int killed)
{
	int status = 0;
	long pid = sys4(NR_wait4, -1, &status, 0, 0);
	for (int i = 0; i < ACTORS; i++) {
		if (actors[i].pid != pid)
			continue;
		actors[i].pid = 0;
		if (!killed && status)
			tell("actor failed", actors[i].role, status & 0x7f ? -(status & 0x7f) : status >> 8);
	}
}

static volatile int late;
static void on_alarm(int signal) { late = signal; }

static void wait_for_actors(u64 ms)
{
	u64 action[4] = {(u64)on_alarm, 0, 0, 0};
	u64 time[4] = {0, 0, ms / 1000, ms % 1000 * 1000};
	sys4(NR_rt_sigaction, SIGALRM, action, 0, 8);
	sys3(NR_setitimer, 0, time, 0);
	int any = unfinished(0);
	while (!late && (any ? unfinished(0) : unfinished(1)))
		reap(0);
	if (late && any && unfinished(0))
		tell("time was up before all actors were done", "unfinished", unfinished(0));
	memset(time, 0, sizeof time);
	sys3(NR_setitimer, 0, time, 0);
}

static void stop(void)
{
	for (int i = 0; i < ACTORS; i++)
		if (actors[i].pid)
			sys2(NR_kill, actors[i].pid, SIGKILL);
	while (unfinished(1))
		reap(1);
}

static void carry_out(char *line)
{
	char *verb = word(&line);
	if (equal(verb, "module"))
		load_module(line);
	else if (equal(verb, "write")) {
		char *path = word(&line);
		write_file(path, line);
	} else if (equal(verb, "copy")) {
		char *path = word(&line);
		copy_to_host(path, line);
	} else if (equal(verb, "kvm"))
		keep_vm();
	else if (equal(verb, "mark"))
		mark();
	else if (equal(verb, "start") || equal(verb, "keep"))
		start(line, equal(verb, "keep"));
	else if (equal(verb, "wait"))
		wait_for_actors(number(line));
	else if (equal(verb, "stop"))
		stop();
	else if (equal(verb, "sleep"))
		sleep_us(number(line) * 1000);
	else
		tell("unknown line in the plan", verb, 0);
}

_Noreturn void init(void)
{
	mount("proc", "/proc");
	mount("sysfs", "/sys");
	mount("devtmpfs", "/dev");
	mount("tracefs", "/sys/kernel/tracing");
	tell("started", "init", 1);
	long file = open_file("/plan", O_RDONLY);
	long n = sys3(NR_read, file, plan, sizeof plan - 1);
	plan[n > 0 ? n : 0] = 0;
	for (char *line = plan; *line;) {
		char *end = line;
		while (*end && *end != '\n')
			end++;
		char last = *end;
		*end = 0;
		carry_out(line);
		line = last ? end + 1 : end;
	}
	tell("finished", "init", 1);
	sys4(NR_reboot, 0xfee1dead, 672274793, 0x4321fedc, 0);
	for (;;)
		sleep_us(1000000);
}
