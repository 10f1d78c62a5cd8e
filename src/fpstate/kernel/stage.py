"""A dumped kernel made ready: its entities at rest, and its functions called as an event would."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fpstate.errors import FpstateError
from fpstate.kernel.btf import Btf
from fpstate.kernel.effects import FRAME, Effect, Effects, Reader
from fpstate.kernel.entities import HYP_STACK, SECTION, STACK_TOP, TASKS, VCPUS, Entities
from fpstate.kernel.entries import (
    ARM_EXCEPTION_IRQ,
    ARM_EXCEPTION_TRAP,
    AS_NAMED,
    ENTRIES,
    GUEST_RUNS,
    NOTED,
    SVE_ENTRIES,
    SYSTEM_CALL,
    WHOLE_RETURN,
    Call,
    Entry,
)
from fpstate.kernel.handed import HandedIn
from fpstate.kernel.prepare import find_per_cpu, prepare_sve, share_hyp_data
from fpstate.kernel.processor import HALTED, RETURNED, STOPPED, Processor, Ran, Saved
from fpstate.lab.dump import Dump
from fpstate.lab.kernel import Symbols
from fpstate.world.events import Event

SOFTIRQ: int = 0x100  # preempt_count while a softirq is served (include/linux/preempt.h)


@dataclass(frozen=True)
class Halt:
    """Where a run was halted, in which of the calls of its entry."""

    saved: Saved
    call: int


class Stage:
    """The kernel of a dump. Roles (`task`, `next`, `vcpu`) say which entity stands for whom in a call."""

    def __init__(
        self, dump: Dump, changes: Mapping[int, int] | None = None, *, guests_of_32_bits: bool = False
    ) -> None:
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
        self.preempt_rt = dump.kernel.preempt_rt
        self.entries = ENTRIES | SVE_ENTRIES if self.has_sve else dict(ENTRIES)
        self.whole_return = self.has_sve and dump.symbols.address(WHOLE_RETURN) is not None
        if not self.whole_return:
            self.entries[Event.RET_TO_USER] = ENTRIES[Event.RET_TO_USER]
        self.system_call: Saved | None = None  # where the last run stands in a system call
        self.allocates_for = "task"
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
            share_hyp_data(self)
        for name in VCPUS:
            self.adopt(AS_NAMED | {"vcpu": name})
        self.processor.keep()
        if self.btf.variable("cpu_number") is None and self.btf.variable("kvm_host_data") is None:
            find_per_cpu(self)
        self.handed = HandedIn(self.entities) if self.has_sve else None
        self.sve_flag = prepare_sve(self) if self.has_sve else None

    @property
    def last_state(self) -> tuple[int, int]:
        """Where, among the variables of a CPU, the record of whose its registers are begins, and its size."""
        return next((at, size) for name, at, size, _ in self.btf.per_cpu if name == "fpsimd_last_state")

    def call(self, name: str, *arguments: str) -> None:
        """Have the task call a function of the kernel, on entities."""
        self.do(Call((name,), arguments), {n: n for n in self.entities.address})

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
            self.do(Call(("kvm_arch_vcpu_run_map_fp",), ("vcpu",)), roles)

    def missing(self) -> list[str]:
        """Return the functions that the kernel lacks, of those that events need."""
        calls = [call for entry in self.entries.values() for call in (*entry.calls, *entry.before)]
        return sorted({" or ".join(c.names) for c in calls if not c.optional and self.function(c) is None})

    def name_of(self, calls: tuple[Call, ...]) -> str:
        """Return the name of the first function of calls that the kernel has, or an empty one."""
        names = (name for call in calls for name in call.names)
        return next((name for name in names if self.symbols.address(name) is not None), "")

    def has(self, entry: Entry) -> bool:
        """Tell whether the kernel has all functions of an entry."""
        calls = (*entry.calls, *entry.before)
        return all(call.optional or self.function(call) is not None for call in calls)

    def prepare(self, entry: Entry, roles: dict[str, str]) -> None:
        """Do what comes before the view of an entry is put in."""
        self._hold(entry, roles, 1)
        for call in entry.before:
            self.do(call, roles)
        self._hold(entry, roles, -1)

    def happen(self, event: Event, roles: dict[str, str]) -> Effects:
        """Do what the kernel does at an event, and before what it goes on from, if that is a system call."""
        entry = self.entries[event]
        if entry.guest == "return":
            self.perform(self.entries[Event.SYSCALL], roles)
        return self.perform(entry, roles)

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
        self.allocates_for = roles.get(entry.allocates_for, "task")
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
            if whole.end == RETURNED and not (call.optional and self.function(call) is None):
                self.processor.set_syndrome(entry.syndrome)
                _join(whole, self.do(call, roles))
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
        if framing is not None and self.handed is not None and whole.end == RETURNED and self.handed.framed_sve():
            effects.done.append(Effect(FRAME, roles["task"], self.function(framing) or 0))
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

    def do(self, call: Call, roles: dict[str, str]) -> Ran:
        """Make one call as the task. Raise FpstateError if the kernel has no such function."""
        function = self.function(call)
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
        if argument == "buffer":
            return e.buffer
        if argument in e.address:
            return e.address[roles[argument]]
        if argument == "layout" and self.handed is not None:
            self.handed.start_layout()
        return int(getattr(self.handed, argument.replace(" ", "_")))

    def _registers(self, task: str) -> int:
        """Return where a task has its registers of user mode (`pt_regs`), which ask for a system call."""
        at = self.entities.address[task] + STACK_TOP - self.btf.size("pt_regs")
        self.processor.write(at + 8 * 8, SYSTEM_CALL)
        return at

    def function(self, call: Call) -> int | None:
        """Return the address of the function that a call is of, or None if the kernel has none of them."""
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
    whole.accesses = np.concatenate([whole.accesses, part.accesses])
    whole.warned += part.warned
    whole.end, whole.pc = part.end, part.pc
