/* A TCG plugin that tells, per CPU and in order, when a kernel function was called and when user mode or a guest used FP.
 *
 * Its lines go to QEMU's log (one file per thread: -d plugin,int,tid), between those about exceptions:
 *
 *   @C CPU        the thread runs this CPU
 *   @A NUMBER     a function began: the NUMBERth of the addresses given
 *   @F            an FP instruction outside the kernel, the first since the kernel ran on this CPU
 *   @S            the same for SVE
 *
 * Arguments: at=ADDRESS (hexadecimal, once for each function). An instruction that traps is told before its exception.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The part of QEMU's plugin interface that is used here (docs/devel/tcg-plugins.rst), version 1. */
typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
typedef void (*tb_trans_cb)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*udata_cb)(unsigned int, void *);
typedef void (*vcpu_cb)(qemu_plugin_id_t, unsigned int);
void qemu_plugin_register_vcpu_init_cb(qemu_plugin_id_t, vcpu_cb);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, tb_trans_cb);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, udata_cb, enum qemu_plugin_cb_flags, void *);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, udata_cb, enum qemu_plugin_cb_flags, void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
void qemu_plugin_outs(const char *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

enum { FP = 1, SVE = 2, MAX_CPUS = 64, MAX_ADDRESSES = 64 };

#define GUEST32 0x20000000ull /* AArch32 code may lie here: the payload's guests do */
#define GUEST32_END 0x30000000ull

static struct cpu {
	int told; /* FP | SVE: what was told since the kernel ran */
} __attribute__((aligned(64))) cpus[MAX_CPUS];
static uint64_t addresses[MAX_ADDRESSES];
static int n_addresses;
static char names[MAX_ADDRESSES][16];

/* Arm ARM, C4.1 (A64 instruction set encoding): bits 28 to 25 are the main group. */
static int class64(uint32_t w)
{
	uint32_t group = w >> 25 & 15;
	if (group == 2)
		return FP | SVE;
	if (group == 7 || group == 15)
		return FP;
	if ((group & 5) == 4)
		return w >> 26 & 1 ? FP : 0; /* loads and stores: the V bit */
	if ((w & 0xffdfffc0) == 0xd51b4400)
		return FP; /* MRS, MSR of FPCR and FPSR */
	return 0;
}

/* Arm ARM, F4.1 (A32): coprocessors 10 and 11, Advanced SIMD data processing and element loads. */
static int class32(uint32_t w)
{
	if (w >> 25 == 0x79)
		return FP;
	if (w >> 24 == 0xf4 && !(w >> 20 & 1))
		return FP;
	uint32_t coprocessor = w >> 8 & 15, group = w >> 25 & 7;
	return (group == 6 || (group == 7 && !(w >> 24 & 1))) && (coprocessor == 10 || coprocessor == 11) ? FP : 0;
}

static void kernel_ran(unsigned int cpu, void *unused)
{
	(void)unused;
	cpus[cpu % MAX_CPUS].told = 0;
}

static void used_fp(unsigned int cpu, void *what)
{
	int class = (int)(intptr_t)what;
	struct cpu *c = &cpus[cpu % MAX_CPUS];
	if (class & ~c->told) {
		c->told |= class;
		qemu_plugin_outs(class & SVE ? "@S\n" : "@F\n");
	}
}

static void called(unsigned int cpu, void *name)
{
	(void)cpu;
	qemu_plugin_outs(name);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	(void)id;
	bool kernel = qemu_plugin_tb_vaddr(tb) >> 55 & 1;
	size_t n = qemu_plugin_tb_n_insns(tb);
	if (kernel)
		qemu_plugin_register_vcpu_tb_exec_cb(tb, kernel_ran, QEMU_PLUGIN_CB_NO_REGS, NULL);
	for (size_t i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t at = qemu_plugin_insn_vaddr(insn);
		uint32_t word;
		if (kernel) {
			for (int k = 0; k < n_addresses; k++)
				if (addresses[k] == at)
					qemu_plugin_register_vcpu_insn_exec_cb(insn, called, QEMU_PLUGIN_CB_NO_REGS, names[k]);
			continue;
		}
		if (qemu_plugin_insn_size(insn) != sizeof word)
			continue;
		memcpy(&word, qemu_plugin_insn_data(insn), sizeof word);
		int class = at >= GUEST32 && at < GUEST32_END ? class32(word) : class64(word);
		if (class)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, used_fp, QEMU_PLUGIN_CB_NO_REGS, (void *)(intptr_t)class);
	}
}

static void started(qemu_plugin_id_t id, unsigned int cpu)
{
	(void)id, (void)cpu;
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	(void)info;
	for (int i = 0; i < argc; i++) {
		if (strncmp(argv[i], "at=", 3) || n_addresses == MAX_ADDRESSES) {
			fprintf(stderr, "unusable plugin argument %s\n", argv[i]);
			return -1;
		}
		addresses[n_addresses] = strtoull(argv[i] + 3, NULL, 16);
		snprintf(names[n_addresses], sizeof names[n_addresses], "@A %d\n", n_addresses);
		n_addresses++;
	}
	qemu_plugin_register_vcpu_init_cb(id, started);
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
