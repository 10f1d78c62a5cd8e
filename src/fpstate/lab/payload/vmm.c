/* A virtual machine monitor without an operating system in its guests.
 *
 * vmm: turns (of the guest's loop, 0 for ever), vcpus (a thread each), fp (guest FP every Nth turn, 0 never), sve (1: guest
 * uses SVE as well), hvc (hypercalls a turn, handled in the kernel), spin, wfi (timer ticks to sleep for, 0 none), mmio
 * (1: an exit to this program each turn), own (1: this program uses FP at each exit), guest32 (1: an AArch32 guest).
 *
 * The guest writes a value to its registers and finds it there the next time, or says so by a store to WRONG.
 */
#include "sys.h"

#include <linux/kvm.h>

#define CODE64 0x30000000ul /* where guest code lies: the emulator tells guests by these addresses, where the host has no RAM */
#define CODE32 0x20000000ul
#define DEVICE 0x10000000ul
#define ENDED 8
#define WRONG 16
#define STACK 16384
#define MAX_VCPUS 16

/* x20 turns, x21 FP every, x22 hypercalls, x23 spin, x24 timer ticks, x25 device or 0, x26 FP counter, x27 SVE, x28 value,
 * x18 device always. */
__asm__(".pushsection .rodata\n"
	"	.arch armv8-a+sve\n"
	"	.balign 8\n"
	"guest64:\n"
	"	mov x0, #(3 << 20)\n"
	"	orr x1, x0, #(3 << 16)\n"
	"	cmp x27, #0\n"
	"	csel x0, x0, x1, eq\n"
	"	msr cpacr_el1, x0\n"
	"	isb\n"
	"	mov x17, #0\n" /* the registers hold the value */
	"1:	cbz x21, 2f\n"
	"	subs x26, x26, #1\n"
	"	b.gt 2f\n"
	"	mov x26, x21\n"
	"	cbz x17, 11f\n"
	"	fmov x0, d7\n"
	"	cmp x0, x28\n"
	"	b.ne 9f\n"
	"	fmov x0, d31\n"
	"	cmp x0, x28\n"
	"	b.ne 9f\n"
	"11:	mov x17, #1\n"
	"	add x28, x28, #1\n"
	"	fmov d7, x28\n"
	"	fmov d31, d7\n"
	"	fadd d6, d7, d31\n"
	"	cbz x27, 2f\n"
	"	ptrue p0.b\n"
	"	dup z31.d, x28\n"
	"	mov z7.d, z31.d\n"
	"2:	mov x19, x22\n"
	"3:	cbz x19, 4f\n"
	"	sub x19, x19, #1\n"
	"	mov w0, #0x84000000\n" /* PSCI_VERSION */
	"	hvc #0\n"
	"	b 3b\n"
	"4:	mov x19, x23\n"
	"5:	cbz x19, 6f\n"
	"	sub x19, x19, #1\n"
	"	b 5b\n"
	"6:	cbz x24, 7f\n"
	"	mrs x0, cntvct_el0\n"
	"	add x0, x0, x24\n"
	"	msr cntv_cval_el0, x0\n"
	"	mov x0, #1\n"
	"	msr cntv_ctl_el0, x0\n"
	"	isb\n"
	"	wfi\n"
	"	msr cntv_ctl_el0, xzr\n"
	"	isb\n"
	"7:	cbz x25, 8f\n"
	"	str x20, [x25]\n"
	"8:	subs x20, x20, #1\n"
	"	b.ne 1b\n"
	"	str x20, [x18, #8]\n"
	"	b 8b\n"
	"9:	str x20, [x18, #16]\n"
	"	b 9b\n"
	"guest64_end:\n"
	".popsection\n");
extern const u8 guest64[], guest64_end[];

/* The same in AArch32: r4 turns, r5 FP every, r6 hypercalls, r7 spin, r8 device or 0, r9 FP counter, r10 value, r11 0 at
 * first, r12 device always. Assembled from the text beside each word (GNU as, armv7-a+neon). */
static const u32 guest32[] = {
	0xee110f50, /*	mrc 15, 0, r0, cr1, cr0, {2} */
	0xe380060f, /*	orr r0, r0, #15728640 */
	0xee010f50, /*	mcr 15, 0, r0, cr1, cr0, {2} */
	0xf57ff06f, /*	isb sy */
	0xe3a00101, /*	mov r0, #1073741824 */
	0xeee80a10, /*	vmsr fpexc, r0 */
	0xe3550000, /*	cmp r5, #0 */
	0x0a00000f, /*	beq calls */
	0xe2599001, /*	subs r9, r9, #1 */
	0xca00000d, /*	bgt calls */
	0xe1a09005, /*	mov r9, r5 */
	0xe35b0000, /*	cmp fp, #0 */
	0x0a000005, /*	beq write */
	0xee170a10, /*	vmov r0, s14 */
	0xe150000a, /*	cmp r0, sl */
	0x1a00001b, /*	bne wrong */
	0xee1f0b90, /*	vmov.32 r0, d31[0] */
	0xe150000a, /*	cmp r0, sl */
	0x1a000018, /*	bne wrong */
	0xe3a0b001, /*	mov fp, #1 */
	0xe28aa001, /*	add sl, sl, #1 */
	0xee07aa10, /*	vmov s14, sl */
	0xee0fab90, /*	vmov.32 d31[0], sl */
	0xf227682f, /*	vadd.i32 d6, d7, d31 */
	0xe1a03006, /*	mov r3, r6 */
	0xe3530000, /*	cmp r3, #0 */
	0x0a000005, /*	beq spin */
	0xe2433001, /*	sub r3, r3, #1 */
	0xe1a0e003, /*	mov lr, r3 */
	0xe3a00321, /*	mov r0, #-2080374784 */
	0xe1400070, /*	hvc 0 */
	0xe1a0300e, /*	mov r3, lr */
	0xeafffff7, /*	b call */
	0xe1a03007, /*	mov r3, r7 */
	0xe3530000, /*	cmp r3, #0 */
	0x0a000001, /*	beq device */
	0xe2433001, /*	sub r3, r3, #1 */
	0xeafffffb, /*	b again */
	0xe3580000, /*	cmp r8, #0 */
	0x15884000, /*	strne r4, [r8] */
	0xe2544001, /*	subs r4, r4, #1 */
	0x1affffdb, /*	bne turn */
	0xe58c4008, /*	str r4, [ip, #8] */
	0xeafffffd, /*	b ended */
	0xe58c4010, /*	str r4, [ip, #16] */
	0xeafffffd, /*	b wrong */
};

static int kvm_fd;
static struct settings {
	u64 turns, vcpus, fp, sve, hvc, spin, wfi, mmio, own, guest32;
} set;
static u32 alive[MAX_VCPUS];
static u8 stacks[MAX_VCPUS][STACK] __attribute__((aligned(16)));

struct machine {
	long fd;
	long run_size;
};
static struct machine machine;

static void set_reg(long vcpu, u64 id, u64 value)
{
	struct kvm_one_reg reg = {.id = id, .addr = (u64)&value};
	long error = sys3(NR_ioctl, vcpu, KVM_SET_ONE_REG, &reg);
	if (error < 0)
		fail("cannot set a guest register", "vmm", error);
}

#define CORE(offset_of_register) (KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | (offset_of_register) / 4)

static void set_x(long vcpu, unsigned x, u64 value) { set_reg(vcpu, CORE(8 * x), value); }

static long new_vcpu(u64 number, struct kvm_vcpu_init *init)
{
	long vcpu = sys3(NR_ioctl, machine.fd, KVM_CREATE_VCPU, number);
	if (vcpu < 0)
		fail("cannot make a vCPU", "vmm", vcpu);
	long error = sys3(NR_ioctl, vcpu, KVM_ARM_VCPU_INIT, init);
	if (error < 0)
		fail(set.guest32 ? "this CPU model cannot run 32-bit guests" : "cannot start a vCPU", "vmm", error);
	int what = KVM_ARM_VCPU_SVE;
	if (set.sve && (error = sys3(NR_ioctl, vcpu, KVM_ARM_VCPU_FINALIZE, &what)) < 0)
		fail("cannot give a vCPU SVE", "vmm", error);
	return vcpu;
}

static void set_up(long vcpu, u64 number)
{
	u64 device = DEVICE, value = (number + 1) * 0x1000193;
	if (set.guest32) {
		u64 r[] = {set.turns, set.fp, set.hvc, set.spin, set.mmio ? device : 0, 1, value & 0x7fffffff, 0, device};
		for (unsigned i = 0; i < sizeof r / sizeof *r; i++)
			set_x(vcpu, 4 + i, r[i]);
		set_reg(vcpu, CORE(8 * 32), CODE32);
		return;
	}
	u64 x[] = {device, 0, set.turns, set.fp, set.hvc, set.spin, set.wfi, set.mmio ? device : 0, 1, set.sve, value};
	for (unsigned i = 0; i < sizeof x / sizeof *x; i++)
		set_x(vcpu, 18 + i, x[i]);
	set_reg(vcpu, CORE(8 * 32), CODE64);
}

static void use_fp(u64 value)
{
	__asm__ volatile("	.irp r, 0,1,2,3,4,5,6,7\n	fmov d\\r, %0\n	.endr\n	fadd d8, d0, d1\n" : : "r"(value));
}

static void run_vcpu(void *arg)
{
	u64 number = (u64)arg;
	struct kvm_vcpu_init init;
	memset(&init, 0, sizeof init);
	long error = sys3(NR_ioctl, machine.fd, KVM_ARM_PREFERRED_TARGET, &init);
	if (error < 0)
		fail("KVM names no CPU for guests", "vmm", error);
	memset(init.features, 0, sizeof init.features);
	init.features[0] = 1u << KVM_ARM_VCPU_PSCI_0_2;
	init.features[0] |= set.guest32 ? 1u << KVM_ARM_VCPU_EL1_32BIT : 0;
	init.features[0] |= set.sve ? 1u << KVM_ARM_VCPU_SVE : 0;
	long vcpu = new_vcpu(number, &init);
	struct kvm_run *run = (void *)sys6(NR_mmap, 0, machine.run_size, 3, 1, vcpu, 0);
	set_up(vcpu, number);
	for (u64 exits = 0;; exits++) {
		error = sys3(NR_ioctl, vcpu, KVM_RUN, 0);
		if (error < 0 && error != -4)
			fail("KVM_RUN failed", "vmm", error);
		if (set.own)
			use_fp(exits);
		if (error < 0 || run->exit_reason == KVM_EXIT_INTR)
			continue;
		if (run->exit_reason != KVM_EXIT_MMIO)
			fail("a guest left for another reason than expected", "vmm", run->exit_reason);
		if (run->mmio.phys_addr == DEVICE + WRONG)
			fail("FP registers changed under a guest", "vmm", (s64)exits);
		if (run->mmio.phys_addr == DEVICE + ENDED)
			return;
	}
}

int vmm(char **args)
{
	set = (struct settings){
		.turns = setting(args, "turns", 0), .vcpus = setting(args, "vcpus", 1), .fp = setting(args, "fp", 1),
		.sve = setting(args, "sve", 0), .hvc = setting(args, "hvc", 0), .spin = setting(args, "spin", 1000),
		.wfi = setting(args, "wfi", 0), .mmio = setting(args, "mmio", 1), .own = setting(args, "own", 0),
		.guest32 = setting(args, "guest32", 0),
	};
	kvm_fd = (int)open_file("/dev/kvm", O_RDWR);
	if (kvm_fd < 0)
		fail("no KVM in this kernel", "/dev/kvm", kvm_fd);
	machine.fd = sys3(NR_ioctl, kvm_fd, KVM_CREATE_VM, 0);
	if (machine.fd < 0)
		fail("cannot make a VM", "vmm", machine.fd);
	machine.run_size = sys3(NR_ioctl, kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	u8 *memory = (void *)sys6(NR_mmap, 0, 65536, 3, 0x22, -1, 0);
	if (set.guest32)
		memcpy(memory, guest32, sizeof guest32);
	else
		memcpy(memory, guest64, (unsigned long)(guest64_end - guest64));
	struct kvm_userspace_memory_region region = {
		.slot = 0, .guest_phys_addr = set.guest32 ? CODE32 : CODE64, .memory_size = 65536, .userspace_addr = (u64)memory,
	};
	long error = sys3(NR_ioctl, machine.fd, KVM_SET_USER_MEMORY_REGION, &region);
	if (error < 0)
		fail("cannot give a VM memory", "vmm", error);
	if (set.vcpus > MAX_VCPUS)
		fail("too many vCPUs", "vmm", (s64)set.vcpus);
	for (u64 i = 1; i < set.vcpus; i++)
		fork_thread(stacks[i] + STACK, run_vcpu, (void *)i, &alive[i]);
	run_vcpu(0);
	for (u64 i = 1; i < set.vcpus; i++)
		for (u32 still; (still = *(volatile u32 *)&alive[i]);)
			sys4(NR_futex, &alive[i], 0, still, 0);
	return 0;
}
