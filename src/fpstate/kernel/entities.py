"""Tasks and vCPUs in a kernel's memory: copies of what the dump holds, in memory of ours, and where images lie."""

from __future__ import annotations

from typing import Final, NamedTuple

from fpstate.errors import FpstateError
from fpstate.kernel.accesses import each
from fpstate.kernel.btf import Btf
from fpstate.kernel.processor import FRAME, OWN_AT, OWN_ZCR, USER_SIZE, Processor, Ran
from fpstate.lab.dump import Dump

TASKS: Final = {"task": 0x10000, "next": 0x20000, "other": 0x30000}
VCPUS: Final = {"vcpu": 0x40000, "other_vcpu": 0x50000}
KVM: Final = 0x20000  # from a vCPU to its VM, which is its own
HANDED_IN: Final = 0x80000
"""Where that lies which user mode or a debugger hands in: a buffer of SIMD registers, a regset, what a frame has."""
HANDED_IN_SIZE: Final = 0x8000
BUFFER: Final = HANDED_IN
FRAME_AT: Final = FRAME
HYP_STACK: Final = 0xA0000  # upper end of the hypervisor's stack
HYP_CALL: Final = 0x1000  # bytes above it for the registers with which the hypervisor is called
SLOT: Final = 0x10000
SECTION: Final = 0xD000  # in a task's slot: what a section of kernel NEON brings along to be saved to, since v6.19
STORAGE: Final = 0xE000  # in a slot: storage for the SVE form,
STORAGE_SIZE: Final = 0x1000
NEXT_STORAGE: Final = STORAGE + STORAGE_SIZE  # and what is allocated while that is in use
STACK_TOP: Final = 0xC000  # of a task's slot; 16 KiB
NO_RESCHEDULE: Final = 1 << 32  # arch/arm64/include/asm/preempt.h: the upper half is 0 if another thread is to run
PT_REGS: Final = 0x200  # room for the registers of user mode at the top of a stack
REGISTERS: Final = 512  # V0 to V31
MOVED: Final = 520  # and FPSR and FPCR
IMAGE: Final = 528  # struct user_fpsimd_state
USER_PATH: Final = "thread.uw.fpsimd_state"
KERNEL_PATH: Final = "thread.kernel_fpsimd_state"
GUEST_PATH: Final = "arch.ctxt.fp_regs"
OF_SVE: Final = ".sve"
"""What the name of an image's storage for its SVE form ends in."""
LENGTH: Final = {"task": 2, "next": 3, "other": 4, "vcpu": 6, "other_vcpu": 7}
"""Vector length in quadwords that the SVE form of each is laid out for: a length in force tells whose it is."""
FPEXC_ENABLED: Final = 1 << 30  # FPEXC32_EL2.EN (Arm ARM, G8.2.54)
FPEXC_OF_GUEST: Final = FPEXC_ENABLED | 0x700  # what a guest has there, VECITR set as no hypervisor would
RW: Final = 1 << 31  # HCR_EL2.RW: the guest is a 64-bit one
OTHER_LENGTH: Final = 5  # of whoever gets another


class Place(NamedTuple):
    """A member of a task, a vCPU or the CPU's own variables: `offset` in the entity, or in the per-CPU section."""

    kind: str  # "cpu", "task", "vcpu"; "elsewhere": `offset` is a physical address
    offset: int
    size: int
    name: str  # as the kernel's types have it: thread.fpsimd_cpu, fpsimd_last_state.st
    type: int = 0  # number of its type; 0 if it is nobody's


class Entities:
    """The entities, at rest: `task` runs, and has `vcpu`. Addresses are the kernel's."""

    def __init__(self, dump: Dump, btf: Btf, processor: Processor) -> None:
        self.btf, self.processor, self._dump = btf, processor, dump
        self.types = {"task": btf.structure("task_struct"), "vcpu": btf.structure("kvm_vcpu")}
        self.sizes = {"task": btf.size("task_struct"), "vcpu": btf.size("kvm_vcpu"), "kvm": btf.size("kvm")}
        base = processor.base
        self.address = {name: base + at for name, at in (TASKS | VCPUS).items()}
        self.buffer = base + BUFFER
        user, guest = btf.member("task_struct", USER_PATH), btf.member("kvm_vcpu", GUEST_PATH)
        self.kernel_image = btf.find("task_struct", KERNEL_PATH)
        if self.kernel_image is not None and btf.leaf(self.types["task"], self.kernel_image)[2] == 8:  # a pointer
            self.kernel_image = SECTION
        self.images = {self.address[name] + user: name for name in TASKS}
        self.images |= {self.address[name] + guest: name for name in VCPUS}
        if self.kernel_image is not None:
            self.images |= {self.address[name] + self.kernel_image: f"{name}.kernel" for name in TASKS}
        self.image_of = {name: address for address, name in self.images.items()}
        self.has_sve = processor.has_sve
        self.length = {name: LENGTH[name.partition(".")[0]] for name in self.image_of}
        self.storage = {name: self.address[name] + STORAGE for name in LENGTH}
        self.storages = {self.address[name] + at: name for at in (STORAGE, NEXT_STORAGE) for name in LENGTH}
        big = self.sizes["vcpu"] > STORAGE or self.sizes["kvm"] > SLOT
        if self.sizes["task"] > STACK_TOP - 0x4000 or big:
            given, expected = "the kernel's structures are too large", "at most 64 KiB, and 32 KiB of a task"
            raise FpstateError(given, expected=expected, where=processor.where)
        self._places: dict[tuple[str, int], Place] = {}
        self._per_cpu_size = max((offset + size for _, offset, size, _ in btf.per_cpu), default=0)
        self._make()
        if self.has_sve:
            self._make_sve()
        self.cpu = self._per_cpu()
        self.hyp_data: tuple[int, int] | None = None
        self.drop_softirqs()

    def stack(self, task: str) -> int:
        """Return the upper end of what a task's kernel stack has free."""
        return self.address[task] + STACK_TOP - PT_REGS

    def all_of_them(self) -> bytes:
        """Return the memory of all entities, and of what is handed in, as it is."""
        return self.processor.read_bytes(self.processor.base, FRAME + USER_SIZE)

    def give_stack(self, task: str) -> None:
        """Let a task have a stack of its own, as dup_task_struct gives one to a child when all else has been copied."""
        at = self.address[task]
        self.processor.write(at + self.btf.member("task_struct", "stack"), at + STACK_TOP - 0x4000)

    def member(self, entity: str, path: str) -> int:
        """Return the address of a member of a task or vCPU."""
        struct = "kvm_vcpu" if entity in VCPUS else "task_struct"
        return self.address[entity] + self.btf.member(struct, path)

    def know_per_cpu(self, variables: dict[str, tuple[int, str]]) -> None:
        """Take in variables of this CPU, by name: their addresses, and the structures they are (empty: a number)."""
        self.cpu = min(address for address, _ in variables.values())
        self.btf.per_cpu = sorted(
            (name, address - self.cpu, self.btf.size(of) if of else 4, self.btf.structure(of) if of else 0)
            for name, (address, of) in variables.items()
        )
        self._per_cpu_size = max(offset + size for _, offset, size, _ in self.btf.per_cpu)
        self._places = {key: place for key, place in self._places.items() if key[0] != "cpu"}

    def drop_softirqs(self) -> None:
        """Let nothing be left to softirqs, since no handler serves what the boot has left to them."""
        pending = self.btf.variable("irq_stat")  # irq_cpustat_t, which begins with __softirq_pending
        if pending is not None:
            self.processor.write(self.cpu + pending[0], 0, 4)
            self.processor.keep()

    def find_hyp_data(self, ran: Ran) -> int:
        """Return the address of what KVM knows of this CPU (`kvm_host_data`), by where a run of a vCPU notes that."""
        p, at = self.processor, self.btf.member("kvm_host_data", "host_ctxt.__hyp_running_vcpu")
        vcpu = self.address["vcpu"] if p.vhe else p.hypervisor(self.address["vcpu"])
        writes = (a for a in each(ran.accesses) if a.write and a.size == 8 and a.address < OWN_AT)
        noted = [a.address for a in writes if a.value == vcpu]
        if len(set(noted)) != 1:
            expected = "its address in kvm_host_data alone"
            raise FpstateError("the hypervisor notes the vCPU that runs nowhere", expected=expected, where=p.where)
        return self.virtual(noted[0]) - at

    def _make(self) -> None:
        p, btf = self.processor, self.btf
        size = self.sizes["task"]
        template = b"".join(p.read_bytes(p.current + i, min(16, size - i)) for i in range(0, size, 16))
        for name in TASKS:
            at = self.address[name]
            p.write_bytes(at, template)
            p.write(at + btf.member("task_struct", "thread_info.flags"), 0)
            p.write(at + btf.member("task_struct", "thread_info.preempt_count"), NO_RESCHEDULE)
            self.give_stack(name)
            mm = self.address["vcpu"] + KVM  # not a kernel thread; nobody looks into it
            p.write(at + btf.member("task_struct", "mm"), mm)
        for name in VCPUS:
            at, kvm = self.address[name], self.address[name] + KVM
            p.write(at + btf.member("kvm_vcpu", "kvm"), kvm)
            mmu = kvm + btf.member("kvm", "arch.mmu")
            p.write(at + btf.member("kvm_vcpu", "arch.hw_mmu"), mmu)
            if btf.find("kvm_s2_mmu", "arch") is None:  # until v5.10
                p.write(mmu + btf.member("kvm_s2_mmu", "kvm"), kvm)
            else:
                p.write(mmu + btf.member("kvm_s2_mmu", "arch"), kvm + btf.member("kvm", "arch"))
        p.keep()

    def have_guests(self, *, of_32_bits: bool) -> None:
        """Let vCPUs be 64-bit ones, or 32-bit ones, which have FPEXC32_EL2."""
        p, btf = self.processor, self.btf
        for name in VCPUS:
            p.write(self.member(name, "arch.hcr_el2"), 0 if of_32_bits else RW)
            at = btf.enumerator("vcpu_sysreg", "FPEXC32_EL2") if of_32_bits else None
            if at is not None:
                p.write(self.member(name, "arch.ctxt.sys_regs") + 8 * at, FPEXC_OF_GUEST)
        p.keep()

    def _make_sve(self) -> None:
        """Give vCPUs storage, and all a length."""
        p, lengths = self.processor, ("thread.vl", "thread.sve_vl")
        of_task = next(name for name in lengths if self.btf.find("task_struct", name) is not None)
        for name in TASKS:
            p.write(self.member(name, of_task), 16 * self.length[name], 4)
            p.write(self.member(name, "thread.sve_state"), 0)
        for name in VCPUS:
            p.write(self.member(name, "arch.sve_state"), self.storage[name])
            p.write(self.member(name, "arch.sve_max_vl"), 16 * self.length[name], 4)
            p.write(self.zcr_of(name), OWN_ZCR)
        p.keep()

    def zcr_of(self, vcpu: str) -> int:
        """Return the address of a guest's own ZCR_EL1 in memory."""
        number = self.btf.enumerator("vcpu_sysreg", "ZCR_EL1")
        if number is None:
            given = "the kernel has no ZCR_EL1 of guests"
            raise FpstateError(given, expected="SVE of guests (vcpu_sysreg)", where=self.processor.where)
        return self.member(vcpu, "arch.ctxt.sys_regs") + 8 * number

    def of_length(self, quadwords: int) -> str:
        """Return whose vector length that is; empty if nobody's."""
        return next((name for name, length in LENGTH.items() if length == quadwords), "")

    def new_storage(self, task: str) -> int:
        """Return the address of storage for the SVE form of a task that is not in use, nor is by any view."""
        used = self.processor.read(self.member(task, "thread.sve_state"))
        following = self.address[task] + NEXT_STORAGE
        return self.storage[task] if used == following else following

    def is_zero(self, whom: str, but: set[int]) -> bool:
        """Tell whether the storage of somebody's SVE form is zeros, but for some bytes."""
        size = (REGISTERS + 34) * self.length[whom]
        pointer = self.member(whom, "arch.sve_state" if whom in VCPUS else "thread.sve_state")
        data = self.processor.read_bytes(self.processor.read(pointer) or self.storage[whom], size)
        return not any(byte for i, byte in enumerate(data) if i not in but)

    def fill_images(self) -> None:
        """Give each image, and the buffer, values of its own, so that a change of them is seen."""
        for number, at in enumerate((self.buffer, *self.images)):
            self.processor.write_bytes(at, bytes(1 + number * 16 + i % 7 for i in range(REGISTERS)))
        for number, at in enumerate(self.storages):
            self.processor.write_bytes(at, bytes(7 + number * 16 + i % 7 for i in range(STORAGE_SIZE)))

    def _per_cpu(self) -> int:
        """Return the address of this CPU's section of per-CPU variables.

        Its symbol is not always there, so the kernel is asked: leaving the registers to nobody writes NULL to the first
        member of fpsimd_last_state and nothing else of 8 bytes to the CPU's variables.
        """
        p, last = self.processor, self.btf.variable("fpsimd_last_state")
        flush, begin = (self._dump.symbols.address(f) for f in ("fpsimd_flush_task_state", "kernel_neon_begin"))
        if (self.btf.per_cpu and last is None) or flush is None or begin is None:
            expected = "an arm64 Linux with KERNEL_MODE_NEON"
            raise FpstateError("the kernel has no fpsimd_last_state", expected=expected, where=p.where)
        task, stack = self.address["task"], self.stack("task")
        for name in TASKS:  # whose registers are nowhere: there is nothing to save
            p.call(flush, (self.address[name],), task, stack)
        p.keep()
        ran = p.call(begin, (), task, stack)
        p.restore()
        offset = (last[0] if last else 0) + (
            self.btf.find("cpu_fp_state", "st") or 0 if self.btf.has("cpu_fp_state") else 0
        )
        for access in each(ran.accesses):
            if access.write and access.size == 8 and access.value == 0 and access.address < OWN_AT:
                if last is None:  # this one is all that is known of them yet
                    self.know_per_cpu({"fpsimd_last_state": (p.linear + access.address, "fpsimd_last_state_struct")})
                    return p.linear + access.address
                start = access.address - offset
                if start % 4096 == 0 or self._dump.symbols.address("__per_cpu_start") is not None:
                    return p.linear + start
        raise FpstateError("this CPU's variables are not found", expected="one written NULL", where=p.where)

    # Where something lies.

    def entity_at(self, address: int) -> tuple[str, int] | None:
        """Return the task, vCPU or "cpu" that a kernel address belongs to, and where in it; None if to none."""
        own = address - self.processor.base
        for name, at in (TASKS | VCPUS).items():
            if at <= own < at + self.sizes["vcpu" if name in VCPUS else "task"]:
                return name, own - at
            if name in VCPUS and at <= own - KVM < at + self.sizes["kvm"]:
                return name, own - at
        start, size = self.hyp_data or (0, 0)
        found = 0 <= address - self.cpu < self._per_cpu_size or 0 <= address - self.cpu - start < size
        return ("cpu", address - self.cpu) if found else None

    def base_of(self, entity: str) -> int:
        """Return the address that places of an entity are counted from."""
        return self.cpu if entity == "cpu" else self.address[entity]

    def virtual(self, physical: int) -> int:
        """Return the kernel's address, in its linear map, of a physical one."""
        return physical + self.processor.linear

    def members(self, entity: str, offset: int, size: int) -> list[Place]:
        """Return the members of an entity that an access of so many bytes touches."""
        kind = kind_of(entity)
        found, at = [], offset
        while at < offset + size:
            place = self._place(kind, at)
            found.append(place)
            at = max(place.offset + place.size, at + 1)
        return found

    def _place(self, kind: str, offset: int) -> Place:
        if (kind, offset) not in self._places:
            self._places[kind, offset] = self._named(kind, offset)
        return self._places[kind, offset]

    def _named(self, kind: str, offset: int) -> Place:
        if kind == "vcpu" and offset >= KVM:
            path, start, size, leaf = self.btf.leaf(self.btf.structure("kvm"), offset - KVM)
            return Place(kind, KVM + start, size, f"kvm{path}", leaf)
        if kind != "cpu":
            path, start, size, leaf = self.btf.leaf(self.types[kind], offset)
            return Place(kind, start, size, path.lstrip(".") or f"{kind}+{offset:#x}", leaf)
        if self.hyp_data is not None and 0 <= offset - self.hyp_data[0] < self.hyp_data[1]:
            start = self.hyp_data[0]
            path, inner, length, leaf = self.btf.leaf(self.btf.structure("kvm_host_data"), offset - start)
            return Place(kind, start + inner, length, f"kvm_host_data{path}", leaf)
        for name, start, size, number in self.btf.per_cpu:
            if start <= offset < start + size:
                path, inner, length, leaf = self.btf.leaf(number, offset - start)
                return Place(kind, start + inner, length, name + path, leaf)
        return Place(kind, offset, 1, f"per-CPU+{offset:#x}")


def kind_of(entity: str) -> str:
    """Return the kind of an entity: "cpu", "task" or "vcpu"."""
    return "task" if entity in TASKS else "vcpu" if entity in VCPUS else entity
