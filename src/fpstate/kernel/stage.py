"""A dumped kernel made ready: its entities at rest, and its functions called as an event would."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fpstate.errors import FpstateError
from fpstate.kernel.btf import Btf
from fpstate.kernel.effects import ALLOCATORS, FLUSHES, FRAME, FREES, Effect, Effects, Reader
from fpstate.kernel.entities import HYP_STACK, SECTION, STACK_TOP, STORAGE_SIZE, TASKS, VCPUS, Entities, Place
from fpstate.kernel.entries import (
    ARM_EXCEPTION_IRQ,
    ARM_EXCEPTION_TRAP,
    ENTRIES,
    FLUSH_ENDS,
    GUEST_RUNS,
    KILLS,
    NOTED,
    RANDOM,
    SVE_ENTRIES,
    SYSTEM_CALL,
    SYSTEM_CALLED,
    WHOLE_RETURN,
    Call,
    Entry,
)
from fpstate.kernel.processor import GFP_ZERO, HALTED, OWN_AT, RETURNED, STOPPED, Processor, Ran, Saved
from fpstate.lab.dump import Dump
from fpstate.lab.kernel import Symbols
from fpstate.world.events import Event

AS_NAMED = {"task": "task", "next": "next", "vcpu": "vcpu"}
"""Roles in which each entity stands for itself."""
CPUS = 4
"""How many numbers the CPU may have."""
RAISES_SOFTIRQ, SOFTIRQ_RAISED = "__raise_softirq_irqoff", 3
SOFTIRQ: int = 0x100  # preempt_count while a softirq is served (include/linux/preempt.h)


@dataclass(frozen=True)
class Halt:
    """Where a run was halted, in which of the calls of its entry."""

    saved: Saved
    call: int


class Stage:
    """The kernel of a dump. Roles (`task`, `next`, `vcpu`) say which entity stands for whom in a call."""

    def __init__(self, dump: Dump, changes: Mapping[int, int] | None = None, *, guests_of_32_bits: bool = False) -> None:
        """Make a dump ready, with instructions changed: by address, the word that stands there instead."""
        self.symbols = dump.symbols
        self.processor = Processor(dump)
        self.has_sve = dump.has_sve
        self.btf = Btf(dump.kernel.image, dump.kernel.source)
        self.entities = Entities(dump, self.btf, self.processor)
        self.entities.have_guests(of_32_bits=guests_of_32_bits)
        self.guests_of_32_bits = guests_of_32_bits
        if guests_of_32_bits:
            self.processor.note_fpexc()
        self.processor.change(changes or {})
        self.reader = Reader(self.entities, _Near(dump.symbols))
        self.preemptible = dump.kernel.preemptible
        self.entries = ENTRIES | SVE_ENTRIES if self.has_sve else dict(ENTRIES)
        self.whole_return = self.has_sve and dump.symbols.address(WHOLE_RETURN) is not None
        if not self.whole_return:
            self.entries[Event.RET_TO_USER] = ENTRIES[Event.RET_TO_USER]
        self.system_call: Saved | None = None  # where the last run stands in a system call
        self._allocates_for = "task"
        self.preemptible_neon = self.entities.kernel_image is not None
        self.guest: Saved | None = None  # where the last run stands to enter its guest
        self.halt: Halt | None = None  # where the last run stands, if it was halted
        vhe = self.processor.vhe
        runs = self._address(GUEST_RUNS[:1] if vhe else GUEST_RUNS[1:])
        if runs is None:
            raise FpstateError(f"the kernel has no {GUEST_RUNS[0]}", expected="KVM built in", where=dump.kernel.source)
        self.processor.stop_at(runs if vhe else self.processor.hypervisor(runs))
        for name in NOTED:
            if (at := dump.symbols.address(name)) is not None:
                self.processor.note_at(at, name)
        if not vhe:
            self._share_hyp_data()
        for name in VCPUS:
            self.adopt(AS_NAMED | {"vcpu": name})
        self.processor.keep()
        if self.btf.variable("cpu_number") is None and self.btf.variable("kvm_host_data") is None:
            self._find_per_cpu()
        if self.has_sve:
            self._prepare_sve()

    @property
    def last_state(self) -> tuple[int, int]:
        """Where, among the variables of a CPU, the record of whose its registers are begins, and its size."""
        return next((at, size) for name, at, size, _ in self.btf.per_cpu if name == "fpsimd_last_state")

    def call(self, name: str, *arguments: str) -> None:
        """Have the task call a function of the kernel, on entities."""
        self._call(Call((name,), arguments), {n: n for n in self.entities.address})

    def be_cpu(self, number: int) -> None:
        """Let the CPU have another number; what else it has stays."""
        variable = self.btf.variable("cpu_number")
        if variable is not None:
            self.processor.write(self.entities.cpu + variable[0], number, 4)
        if self.btf.find("task_struct", "thread_info.cpu") is not None:
            for task in TASKS:
                self.processor.write(self.entities.member(task, "thread_info.cpu"), number, 4)

    def adopt(self, roles: dict[str, str]) -> None:
        """Let the task be the one that runs the vCPU, as when KVM_RUN is called first, where the kernel notes that."""
        if self.processor.vhe and self.btf.find("kvm_vcpu", "arch.host_thread_info") is not None:
            self._call(Call(("kvm_arch_vcpu_run_map_fp",), ("vcpu",)), roles)

    def _find_per_cpu(self) -> None:
        """Find the CPU's number, its softirqs, and what KVM knows of it, where the kernel's types do not tell where.

        The number is what a task's reload reads and notes in the task.
        """
        p, e = self.processor, self.entities
        found = {"fpsimd_last_state": (e.cpu, "fpsimd_last_state_struct")}
        ran = self._ran(ENTRIES[Event.RET_TO_USER])
        read = [a.address for a in ran.accesses if not a.write and a.size == 4 and a.address < OWN_AT]
        p.restore()
        for address in dict.fromkeys(read):
            p.write(e.virtual(address), 3, 4)
            self._ran(ENTRIES[Event.RET_TO_USER])
            if p.read(e.member("task", "thread.fpsimd_cpu"), 4) == 3:
                found["cpu_number"] = e.virtual(address), ""
            p.restore()
        ran = self._call(Call((RAISES_SOFTIRQ,), (SOFTIRQ_RAISED,)), AS_NAMED)
        pending = [a.address for a in ran.accesses if a.write and a.address < OWN_AT and a.value >> SOFTIRQ_RAISED & 1]
        p.restore()
        for address in pending[:1]:
            found["irq_stat"] = e.virtual(address), ""
            p.write(e.virtual(address), 0, 4)  # no handler serves what the boot has left to softirqs
            p.keep()
        self._ran(ENTRIES[Event.VCPU_LOAD])
        ran = self._ran(ENTRIES[Event.GUEST_ENTER])
        found["kvm_host_data"] = e.find_hyp_data(ran), "kvm_host_data"
        p.restore()
        e.know_per_cpu(found)

    def _ran(self, entry: Entry) -> Ran:
        """Return what the last call of an entry does."""
        for call in entry.calls:
            if not call.optional or self._function(call) is not None:
                ran = self._call(call, AS_NAMED)
        return ran

    def _prepare_sve(self) -> None:
        """Do ourselves what allocators do; end system calls where their function begins; find what a flag of SVE is."""
        p, at = self.processor, self.symbols.address
        for name in ALLOCATORS:
            if (address := at(name)) is not None:
                p.instead_of(address, name, self._allocate)
        if (address := at(FREES)) is not None:
            p.instead_of(address, FREES, lambda: p.register(0))
        flush = at(FLUSHES)
        for address in [flush] if flush is not None else p.places_of(FLUSH_ENDS):
            p.note_at(address, FLUSHES)
        for name in KILLS:
            if (address := at(name)) is not None:
                p.fault_at(address)
        if (random := at(RANDOM)) is not None:  # where the next system call has its stack
            p.instead_of(random, RANDOM, lambda: 0)
        if (called := at(SYSTEM_CALLED)) is not None:
            p.stop_at(called)
        self.sve_flag = self._sve_flag()

    def _allocate(self) -> int:
        """Return what stands for new storage: where an entity has it, all zeros if that was asked for."""
        storage = self.entities.new_storage(self._allocates_for)
        if self.processor.register(1) & GFP_ZERO:
            self.processor.write_bytes(storage, bytes(STORAGE_SIZE))
        return storage

    def _sve_flag(self) -> tuple[Place, int]:
        """Return the member, and its bit, by which a vCPU has SVE; and let all of ours have it, ready to run.

        A vCPU is asked whether it is finalized: that it has SVE makes it not so, until another bit says that it is.
        """
        p, e = self.processor, self.entities
        call = Call(("kvm_arm_vcpu_is_finalized",), ("vcpu",))
        read = [place for (of, place) in self.reader.effects(self._call(call, AS_NAMED)).read if of == "vcpu"]
        words = [place for place in read if place.name.endswith("flags")]

        def finalized() -> bool:
            self._call(call, AS_NAMED)
            return bool(p.register(0) & 1)

        for place, bit in ((place, 1 << n) for place in words for n in range(8 * place.size)):
            self._set("vcpu", place, bit)
            if finalized():
                p.restore()
                continue
            read = [place for (of, place) in self.reader.effects(self._call(call, AS_NAMED)).read if of == "vcpu"]
            for other, done in ((w, 1 << n) for w in read if w.name.endswith("flags") for n in range(8 * w.size)):
                p.restore()
                self._set("vcpu", place, bit)
                self._set("vcpu", other, done)
                if finalized():
                    for name in VCPUS:
                        self._set(name, place, bit)
                        self._set(name, other, done)
                    p.keep()
                    return place, bit
            p.restore()
        raise FpstateError("it is not found how a vCPU has SVE", expected="a flag of it", where=p.where)

    def _set(self, entity: str, place: Place, bits: int) -> None:
        """Set bits of a member."""
        p, at = self.processor, self.entities.base_of(entity) + place.offset
        p.write(at, p.read(at, place.size) | bits, place.size)

    def missing(self) -> list[str]:
        """Return the functions that the kernel lacks, of those that events need."""
        calls = [call for entry in self.entries.values() for call in (*entry.calls, *entry.before)]
        return sorted({" or ".join(c.names) for c in calls if not c.optional and self._function(c) is None})

    def name_of(self, calls: tuple[Call, ...]) -> str:
        """Return the name of the first function of calls that the kernel has, or an empty one."""
        names = (name for call in calls for name in call.names)
        return next((name for name in names if self.symbols.address(name) is not None), "")

    def has(self, entry: Entry) -> bool:
        """Tell whether the kernel has all functions of an entry."""
        calls = (*entry.calls, *entry.before)
        return all(call.optional or self._function(call) is not None for call in calls)

    def prepare(self, entry: Entry, roles: dict[str, str]) -> None:
        """Do what comes before the view of an entry is put in."""
        self._hold(entry, roles, 1)
        for call in entry.before:
            self._call(call, roles)
        self._hold(entry, roles, -1)

    def perform(
        self,
        entry: Entry,
        roles: dict[str, str],
        guest: Saved | None = None,
        *,
        since: Halt | None = None,
        point: int = 0,
    ) -> Effects:
        """Do what the kernel does at an entry, in memory as it is; `guest` is where its run stands (None: the last).

        It begins where it was halted before, if `since` is given, and halts at its point of that number, from 1.
        """
        whole, self.halt = Ran(), None
        self._allocates_for = roles.get(entry.allocates_for, "task")
        returns = entry.guest == "return"
        guest = guest or (self.system_call if returns else self.guest)
        if since is None:
            self._hold(entry, roles, 1)
        count = self.entities.member(roles["task"], "thread_info.preempt_count")
        self.processor.watch_for_points(count, int(entry.preempt_off), point)
        if entry.guest in ("trap", "exit", "return") and since is None:
            assert guest is not None
            answer = ARM_EXCEPTION_TRAP if entry.guest == "trap" else ARM_EXCEPTION_IRQ
            _join(whole, self.processor.resume(guest, answer, entry.syndrome, of_guest=not returns))
            self.halt = self._halted(whole, -1)
        first = 0
        if since is not None:
            _join(whole, self.processor.go_on(since.saved))
            first = since.call + 1
            self.halt = self._halted(whole, since.call)
        for number, call in enumerate(entry.calls[first:], first):
            if whole.end == RETURNED and not (call.optional and self._function(call) is None):
                self.processor.set_syndrome(entry.syndrome)
                _join(whole, self._call(call, roles))
                self.halt = self._halted(whole, number)
        for role in entry.others:
            if roles.get(role) in TASKS and whole.end == RETURNED:
                self.entities.give_stack(roles[role])
        if whole.end == STOPPED and entry.guest:
            self.guest = self.processor.saved()
        elif whole.end == STOPPED:
            self.system_call = self.processor.saved()
        effects = self.reader.effects(whole)
        framing = next((call for call in entry.calls if "layout" in call.arguments), None)
        if framing is not None and whole.end == RETURNED and self.entities.framed_sve():
            effects.done.append(Effect(FRAME, roles["task"], self._function(framing) or 0))
        if whole.end != HALTED:
            self._hold(entry, roles, -1)
        return effects

    def _halted(self, ran: Ran, call: int) -> Halt | None:
        """Return where a run stands, if it was halted in a call of its entry."""
        return Halt(self.processor.saved(), call) if ran.end == HALTED else None

    def _hold(self, entry: Entry, roles: dict[str, str], sign: int) -> None:
        """Count what an entry runs in: a softirq, or a section that is not preempted."""
        held = SOFTIRQ * entry.softirq + entry.preempt_off
        if held:
            at = self.entities.member(roles["task"], "thread_info.preempt_count")
            self.processor.write(at, self.processor.read(at, 4) + sign * held, 4)

    def guest_trapped(self) -> bool:
        """Tell whether the guest would trap at its next use."""
        return self.processor.guest_fp_trap

    def guest_traps(self) -> dict[str, bool]:
        """Return which uses would trap, if the guest ran."""
        fp = {"guest_fp_trap": self.processor.guest_fp_trap}
        return fp | {"guest_sve_trap": self.processor.guest_sve_trap} if self.has_sve else fp

    def _share_hyp_data(self) -> None:
        """Find the hypervisor's data of this CPU, and let it have the same whatever number the CPU has."""
        p, roles = self.processor, AS_NAMED
        for call in ENTRIES[Event.VCPU_LOAD].calls:
            self._call(call, roles)
        for call in ENTRIES[Event.GUEST_ENTER].calls:
            ran = self._call(call, roles)
        e = self.entities
        e.hyp_data = e.find_hyp_data(ran) - e.cpu, self.btf.size("kvm_host_data")
        p.restore()
        bases = self.symbols.address("__kvm_nvhe_kvm_arm_hyp_percpu_base")
        if bases is not None:
            for number in range(1, CPUS):
                p.write(bases + 8 * number, p.read(bases))
            p.keep()

    def _call(self, call: Call, roles: dict[str, str]) -> Ran:
        function = self._function(call)
        if function is None:
            given = f"the kernel has no function {' or '.join(call.names)}"
            raise FpstateError(given, expected="an arm64 Linux with KVM built in", where=self.processor.where)
        arguments = tuple(self._argument(a, roles) for a in call.arguments)
        current = roles["task"]
        stack, task = self.entities.stack(current), self.entities.address[current]
        p = self.processor
        if call.hypervisor and not p.vhe:
            for number, value in enumerate(arguments, 1):  # x0 says what is called
                p.write(p.base + HYP_STACK + self.btf.member("kvm_cpu_context", "regs") + 8 * number, value)
            top = p.hypervisor(p.base + HYP_STACK)
            return p.call(p.hypervisor(function), (top,), task, top, irqs_off=True)
        return p.call(function, arguments, task, stack, call.irqs_off)

    def _argument(self, argument: str | int, roles: dict[str, str]) -> int:
        if isinstance(argument, int):
            return argument
        e = self.entities
        if argument == "section":
            return e.address[roles["task"]] + SECTION
        if argument == "registers":
            return self._registers(roles["task"])
        if argument == "layout":
            e.start_layout()
        if argument in ("buffer", "contexts", "plain contexts", "frame", "layout", "regset", "regset size"):
            return int(getattr(e, argument.replace(" ", "_")))
        return e.address[roles[argument]]

    def _registers(self, task: str) -> int:
        """Return where a task has its registers of user mode (`pt_regs`), which ask for a system call."""
        at = self.entities.address[task] + STACK_TOP - self.btf.size("pt_regs")
        self.processor.write(at + 8 * 8, SYSTEM_CALL)
        return at

    def _function(self, call: Call) -> int | None:
        return self._address((call.hypervisor,) if call.hypervisor and not self.processor.vhe else call.names)

    def _address(self, names: tuple[str, ...]) -> int | None:
        return next((at for name in names if (at := self.symbols.address(name)) is not None), None)


class _Near(dict[int, str]):
    """Addresses as NAME+0xOFFSET, looked up once."""

    def __init__(self, symbols: Symbols) -> None:
        super().__init__()
        self._symbols = symbols

    def __missing__(self, address: int) -> str:
        self[address] = self._symbols.near(address)
        return self[address]


def _join(whole: Ran, part: Ran) -> None:
    """Append what a run did to what was done before it."""
    whole.notes += [note._replace(before=note.before + len(whole.accesses)) for note in part.notes]
    whole.points += [at + len(whole.accesses) for at in part.points]
    whole.accesses += part.accesses
    whole.warned += part.warned
    whole.end, whole.pc = part.end, part.pc
