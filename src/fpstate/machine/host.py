"""The host kernel and hypervisor, and the tasks and guests they run: scheduler, system calls, KVM's run loop, softirqs.

All code of tasks, guests and kernel-mode NEON is real AArch64 code on the engines; what is in Python is the kernel.
What happens is decided by one seeded generator and by the programs, so a run is repeatable.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from fpstate.errors import FpstateError
from fpstate.machine.elf import PAGE, Program, bundled
from fpstate.machine.engine import KERNEL_PSTATE, PC, SP, TPIDR, USER_PSTATE, Engine, Registers, Stop, X
from fpstate.machine.linux import FIRST_PID, RT_SIGRETURN, Linux, initial_stack
from fpstate.machine.memory import DEVICE, KERNEL_BUFFER, RUN_PAGE, STACK_TOP, Ram, Space, Text
from fpstate.machine.signals import USR1, USR2, Saved, build_frame, default_action, read_frame
from fpstate.machine.tape import Tape
from fpstate.machine.twin import Twin
from fpstate.machine.twin_sve import SveTwin
from fpstate.machine.words import COUNTERS, ID_AA64PFR0, is_sme, is_sve
from fpstate.paths.order import (
    ENTER,
    EXIT,
    EXIT_GUEST,
    INTERRUPT,
    LOAD,
    NEON_BEGIN,
    NEON_END,
    PUT,
    RET,
    RUN_ENTER,
    RUN_EXIT,
    SIGNAL,
    SIGRETURN,
    SIGRETURN_SVE,
    SOFTIRQ,
    SOFTIRQ_END,
    SWITCH,
    SYSCALL,
)
from fpstate.rows.fields import features_of
from fpstate.rows.learn import Rows
from fpstate.traces.trace import Kind
from fpstate.world.events import Event
from fpstate.world.verdicts import TRAP_NOT_SERVED, TRAPS_AGAIN

STACK = 64 << 10
UNBOUNDED = 1 << 62
TRAPS_IN_PLACE = 100  # of one use of SVE, after which it is taken to trap for ever
HASH_BYTES = 128  # what one hash in the kernel takes in
SYS_IOCTL, SYS_WRITE, SYS_EXIT, SYS_EXIT_GROUP, SYS_YIELD, SYS_HASH = 29, 64, 93, 94, 124, 1000
REASON_MMIO, REASON_END = 1, 2


class State(Enum):
    """Whether a thread can run."""

    RUNNABLE = 0
    BLOCKED = 1  # until `wake`
    DEAD = 2
    STOPPED = 3  # it, or its guest, has run as many instructions as it may


@dataclass(eq=False)
class Runner:
    """What tasks and guests have in common: a program, its memory and registers, and what came of it."""

    context: int
    program: Program
    space: Space
    registers: Registers
    limit: int  # instructions, after which it runs no more
    tape: Tape
    output: bytearray = field(default_factory=bytearray)
    code: int | None = None  # what it exited with
    killed: str = ""  # why it could not go on
    instructions: int = 0
    linux: Linux | None = None
    lacks: str = ""  # "SVE" or "SME", if it ended by an instruction of that

    @property
    def ended(self) -> bool:
        """Whether it has exited or was killed."""
        return self.code is not None or bool(self.killed)


@dataclass(eq=False)
class Vcpu(Runner):
    """A guest's CPU. `pending` is the register that waits for what the VMM reads from its device."""

    pending: int | None = None


@dataclass(eq=False)
class Task(Runner):
    """A thread of the host."""

    vcpu: Vcpu | None = None  # of a VMM
    in_run: bool = False  # inside KVM_RUN
    hashing: bool = False  # between the halves of a hash in the kernel
    state: State = State.RUNNABLE
    wake: int = 0
    cpu: int | None = None  # where it ran last
    running: bool = False
    trapped_at: int = 0  # after how many instructions a use of SVE trapped last
    traps_here: int = 0  # how often it had trapped there before


@dataclass(frozen=True)
class Settings:
    """How a machine runs."""

    cpus: int = 2
    slice: int = 10_000  # instructions
    seed: int = 1
    softirq: float = 0.1  # probability of a softirq that uses NEON, each time the kernel is entered
    stay: float = 0.75  # probability that a thread that ran on this CPU before is preferred
    instructions: int | None = None  # of all programs together, after which the run ends
    seconds: float | None = None  # after which the run ends
    signals: float = 0.0  # probability that a task gets a signal it handles, each time it returns to user mode

    @property
    def bounded(self) -> bool:
        """Whether the run ends at a bound, with programs still running."""
        return self.instructions is not None or self.seconds is not None


class Machine:
    """The hardware: engines that share one RAM. It can be used for one run after another."""

    def __init__(self, cpus: int, megabytes: int = 64, vector_length: int = 0) -> None:
        self.ram = Ram(megabytes << 20)
        self.engines = [Engine(c, self.ram, vector_length) for c in range(cpus)]
        self.texts: dict[Program, Text] = {}
        self.ram.reset()

    def text(self, program: Program) -> Text:
        """Return the code of a program in RAM, loading it if need be."""
        if program not in self.texts:
            self.texts[program] = Text(self.ram, program)
        return self.texts[program]

    def reset(self) -> None:
        """Forget the last run: memory is zeros again. Code that was translated is kept."""
        self.ram.reset()
        for engine in self.engines:
            engine.resident = None


class Host:
    """The kernel on a machine, and the threads that share its CPUs under a policy's rows."""

    def __init__(self, rows: Rows, settings: Settings, machine: Machine) -> None:
        machine.reset()
        self.rows, self.settings, self.machine = rows, settings, machine
        self.ram, self.engines = machine.ram, machine.engines[: settings.cpus]
        self.random = random.Random(settings.seed)  # noqa: S311 - repeatable, not secret
        self.neon = rows.handler(Event.KERNEL_NEON_BEGIN) is not None  # else the kernel may not touch FP registers
        needed = (SIGNAL, SIGRETURN, SIGRETURN_SVE) if features_of(rows.policy) else (SIGNAL, SIGRETURN)
        self.signals = all(rows.handler(Event(e)) is not None for e in needed)
        self.softirqs = settings.softirq if self.neon else 0.0
        self.tasks: list[Task] = []
        self.vcpus: list[Vcpu] = []
        self.turns = 0
        self.exits = 0  # guest exits
        self.kernel = Space(self.ram)
        self.kernel_program = bundled("kernel")
        self.kernel.load(self.kernel_program, machine.text(self.kernel_program))
        self.kernel.map(KERNEL_BUFFER, PAGE)
        self.current: list[Task | None] = [None] * settings.cpus
        self.left = [0] * settings.cpus  # of the time slice
        self.instructions = 0
        self.bound = UNBOUNDED if settings.instructions is None else settings.instructions
        self.refuse_lacking = True  # end the run at an instruction the machine does not have
        self.lacking: Runner | None = None  # who came upon one
        self.twin: Twin
        self.names: list[str] = []

    # Making tasks and guests. Contexts are numbered when all are known.

    def add_task(self, program: Program, limit: int, tape: Tape | None = None) -> Task:
        """Add a task that runs a program in user mode, and is told what is on a tape."""
        space = Space(self.ram)
        space.load(program, self.machine.text(program))
        space.map(STACK_TOP - STACK, STACK)
        registers = Registers(USER_PSTATE)
        registers.values[PC] = program.entry
        registers.values[SP] = initial_stack(space, program, sve=self.engines[0].sve is not None)
        task = Task(0, program, space, registers, limit, tape or Tape())
        self.tasks.append(task)
        return task

    def add_vm(self, program: Program, limit: int, tape: Tape | None = None) -> Task:
        """Add a VM of one vCPU that runs a program, and the VMM task that runs it; limit and tape are the guest's."""
        vmm = self.add_task(bundled("vmm"), limit)
        vmm.space.map(RUN_PAGE, PAGE)
        space = Space(self.ram)
        space.load(program, self.machine.text(program))
        space.map(STACK_TOP - STACK, STACK)
        registers = Registers(KERNEL_PSTATE)
        registers.values[PC], registers.values[SP], registers.values[X] = program.entry, STACK_TOP - 256, 1
        vmm.vcpu = Vcpu(0, program, space, registers, limit, tape or Tape())
        self.vcpus.append(vmm.vcpu)
        return vmm

    def start(self) -> None:
        """Give the contexts numbers and names, and make the world beside them."""
        cpus = self.settings.cpus
        if beyond := sorted(self.rows.policy.features - {"sve"}):
            raise FpstateError(f"the machine does not have {', '.join(beyond)}", expected="a policy for SVE, or none")
        self.names = [f"idle{c}" for c in range(cpus)] + _names(self.tasks)
        kinds = [Kind.IDLE] * cpus + [Kind.USER] * len(self.tasks) + [Kind.VCPU] * len(self.vcpus)
        runners: list[Runner] = [*self.tasks, *self.vcpus]
        for x, runner in enumerate(runners, cpus):
            runner.context = x
            runner.registers.values[TPIDR] = x
        twin = SveTwin if features_of(self.rows.policy) else Twin
        self.twin = twin(self.rows, np.array(kinds, np.uint8), self.engines, self.ram)

    def run(self) -> None:
        """Run until every task has ended or reached its limit, or the run a bound of its own."""
        self.start()
        seconds = self.settings.seconds
        ends = None if seconds is None else time.monotonic() + seconds
        while any(t.state in (State.RUNNABLE, State.BLOCKED) for t in self.tasks):
            self.turns += 1
            self.twin.used.clear()
            for c in range(self.settings.cpus):
                if self.instructions >= self.bound or self.lacking is not None:
                    return
                self.turn(c)
            if ends is not None and time.monotonic() >= ends:
                return

    # The scheduler.

    def turn(self, c: int) -> None:
        """Let CPU `c` go on: through the kernel, and into user mode or a guest until it comes back."""
        if self.left[c] <= 0 or self.current[c] is None:
            self.schedule(c)
        task = self.current[c]
        if task is None:
            return
        who = task.vcpu if task.in_run and task.vcpu is not None else task
        if who.instructions >= who.limit:
            task.state = State.STOPPED
            self.left[c] = 0
            return
        if self.random.random() < self.softirqs:
            self.softirq(c, task)
        if task.hashing:
            self.hash_end(c, task)
        if task.in_run:
            self.guest(c, task)
        else:
            self.user(c, task)

    def schedule(self, c: int) -> None:
        """Choose what CPU `c` runs next, and switch to it."""
        ready = []
        for t in self.tasks:
            if t.state is State.BLOCKED and t.wake <= self.turns:
                t.state = State.RUNNABLE
            if t.state is State.RUNNABLE and (not t.running or t is self.current[c]):
                ready.append(t)
        others = [t for t in ready if t is not self.current[c]] or ready
        here = [t for t in others if t.cpu in (c, None)]
        if here and self.random.random() < self.settings.stay:
            others = here
        self.switch(c, self.random.choice(others) if others else None)
        self.left[c] = int(self.settings.slice * self.random.uniform(0.75, 1.25))

    def switch(self, c: int, task: Task | None) -> None:
        """Switch CPU `c` to `task` (None: idle)."""
        before = self.current[c]
        if task is before:
            return
        if before is not None:
            if before.in_run:
                self.event(PUT, c, before, before.vcpu)
            before.running = False
        old, new = (c if t is None else t.context for t in (before, task))
        self.twin.event(SWITCH, c, old, new)
        self.current[c] = task
        if task is not None:
            task.running, task.cpu = True, c
            if task.in_run:
                if self.random.random() < self.softirqs:
                    self.softirq(c, task)
                self.event(LOAD, c, task, task.vcpu)

    def event(self, e: int, c: int, task: Task, vcpu: Vcpu | None = None) -> None:
        """Let an event happen to a task, and to its vCPU if that takes part."""
        self.twin.event(e, c, task.context, self.twin.n if vcpu is None else vcpu.context)

    # Kernel-mode NEON.

    def kernel_code(self, c: int, name: str, at: int, size: int) -> int:
        """Run a function of the kernel's code on CPU `c` and return its result."""
        engine = self.engines[c]
        engine.put_away()
        if engine.sve is not None:
            engine.set_sve(True)  # with SVE trapped, the engine would not zero the rest of Z when V is written
        engine.enter(self.kernel, privileged=True, fp_on=True)
        engine.set_x(0, at)
        engine.set_x(1, size)
        engine.set_pc(self.kernel_program.symbols[name])
        engine.run(1_000_000)
        assert engine.stop is Stop.SVC, f"kernel code stopped at {engine.pc():#x}: {engine.stop.name}"
        return engine.x(0)

    def softirq(self, c: int, task: Task) -> None:
        """Take a softirq that uses NEON: it hashes a packet of random bytes."""
        self.event(SOFTIRQ, c, task)
        self.kernel.write(KERNEL_BUFFER, self.random.randbytes(32))
        self.kernel_code(c, "hash_begin", KERNEL_BUFFER, 32)
        self.twin.kernel_wrote(c, task.context, softirq=True)
        self.event(SOFTIRQ_END, c, task)

    def hash_begin(self, c: int, task: Task) -> None:
        """Do the first half of a hash over a task's buffer (x0: address), in the kernel on its behalf."""
        self.event(NEON_BEGIN, c, task)
        self._buffer(c, task)
        self.kernel_code(c, "hash_begin", KERNEL_BUFFER, HASH_BYTES // 2)
        self.twin.kernel_wrote(c, task.context, softirq=False)
        task.hashing = True

    def hash_end(self, c: int, task: Task) -> None:
        """Do the second half: its result goes to the task's x0. It is wrong if the registers were lost in between."""
        engine, twin = self.engines[c], self.twin
        self._buffer(c, task)
        kept = twin.kernel_keeps(c, task.context)
        before = engine.fp()
        result = self.kernel_code(c, "hash_end", KERNEL_BUFFER + HASH_BYTES // 2, HASH_BYTES // 2)
        if kept:
            twin.kernel_wrote(c, task.context, softirq=False)
        else:
            engine.set_fp_registers(before)  # the world knows no write to registers that are another's
        self.event(NEON_END, c, task)
        task.registers.values[X] = result
        task.hashing = False

    def _buffer(self, c: int, task: Task) -> None:
        self.engines[c].put_away()
        data = task.space.read(task.registers.values[X], HASH_BYTES)
        self.kernel.write(KERNEL_BUFFER, data or bytes(HASH_BYTES))

    # User mode.

    def user(self, c: int, task: Task) -> None:
        """Return to user mode until the task comes back into the kernel, and serve what it came for."""
        if not self.deliver(c, task):
            return
        self.event(RET, c, task)
        stop = self.execute(c, task, None)
        engine = self.engines[c]
        if stop is Stop.SVC:
            self.event(SYSCALL, c, task)
            self.system_call(c, task, engine)
        elif stop in (Stop.WFI, Stop.SLICE):
            self.event(INTERRUPT, c, task)
            if stop is Stop.WFI or isinstance(self.twin, SveTwin):
                self.left[c] = 0
        elif isinstance(self.twin, SveTwin) and stop is Stop.TRAPPED and self.twin.again:
            task.traps_here = task.traps_here + 1 if task.trapped_at == task.instructions else 0
            task.trapped_at = task.instructions
            if task.traps_here == TRAPS_IN_PLACE:  # else user mode tries again
                self.twin.went(TRAPS_AGAIN)
                self.kill(c, task, f"its use of SVE at {engine.pc():#x} traps again each time its trap has been served")
        else:
            if stop is Stop.HVC:
                engine.set_pc(engine.pc() - 4)
            self.kill(c, task, self._why(engine, task))

    def execute(self, c: int, task: Task, vcpu: Vcpu | None) -> Stop:
        """Run a task's code, or its guest's, until it stops; its first use of FP goes through the policy."""
        engine, twin = self.engines[c], self.twin
        who: Runner = task if vcpu is None else vcpu
        t, s = task.context, twin.n if vcpu is None else vcpu.context

        def first_use() -> bool:
            return twin.use(vcpu is not None, c, t, s) != TRAP_NOT_SERVED

        def first_sve_use() -> bool:
            return vcpu is None and isinstance(twin, SveTwin) and twin.use_sve(c, t)

        engine.on_fp, engine.on_sve = first_use, first_sve_use
        if engine.sve is not None:
            engine.set_sve(False)
        engine.enter(who.space, privileged=vcpu is not None, fp_on=False)
        engine.bring(who.registers)  # after it: changing the exception level resets PSTATE
        while True:
            done = engine.run(self.room(c, who))
            self.left[c] -= done
            twin.now += done
            who.instructions += done
            self.instructions += done
            if engine.stop is not Stop.READ:
                break
            self.answer(c, who, guest=vcpu is not None)
            if self.room(c, who) <= 0:
                engine.stop = Stop.SLICE
                break
        if engine.fp_on or (engine.sve is not None and engine.sve_on):
            twin.wrote(c, who.context)
        return engine.stop

    def room(self, c: int, who: Runner) -> int:
        """Return how many instructions a task or guest may execute now."""
        room = min(self.left[c], who.limit - who.instructions, self.bound - self.instructions)
        if who.tape.again.signals and (signal := who.tape.next_signal()) and signal[0] > who.instructions:
            room = min(room, signal[0] - who.instructions)
        return room

    def answer(self, c: int, who: Runner, *, guest: bool) -> None:
        """Answer a read of a counter or ID register, as the hardware or the kernel does (arm64/cpu-feature-registers).

        The counter is the machine's own time, at 1 GHz. Of features there are FP, AdvSIMD, and SVE for tasks.
        """
        engine = self.engines[c]
        word = who.space.word(engine.pc()) & ~31
        if word in COUNTERS:
            value = 10**9 if COUNTERS[word] == "CNTFRQ_EL0" else who.tape.answer(self.twin.now)
        else:
            value = (1 << 32 if engine.sve is not None and not guest else 0) | 0x11 if word == ID_AA64PFR0 else 0
        engine.answer(value)

    def _why(self, engine: Engine, who: Runner) -> str:
        pc = engine.pc()
        word = who.space.word(pc)
        guest = isinstance(who, Vcpu)
        if engine.stop in (Stop.CRASH, Stop.TRAPPED) and (
            is_sme(word) or (is_sve(word) and (guest or engine.sve is None))
        ):
            who.lacks = "SME" if is_sme(word) else "SVE"
            if self.refuse_lacking:
                self.lacking = who
            return f"uses {who.lacks} ({word:#010x} at {pc:#x}), which this machine does not have" + (
                " in guests" if guest and who.lacks == "SVE" else ""
            )
        if engine.stop is Stop.TRAPPED:
            return f"its use of FP at {pc:#x} traps, and the handler leaves the trap armed"
        if engine.stop is Stop.FAULT:
            return f"accesses {engine.fault:#x}, which is not its memory, at {pc:#x}"
        if engine.fault_is_fetch and engine.stop is Stop.CRASH and who.space.offset(pc) is None:
            return f"jumps to {pc:#x}, where it has no code"
        return f"cannot execute {word:#010x} at {pc:#x}"

    # Signals.

    def deliver(self, c: int, task: Task) -> bool:
        """Deliver a signal on the way to user mode, if one is due; return whether the task goes on."""
        linux = self.linux(task)
        signals = linux.signals
        if task.linux is None and not task.tape.again.signals and not self.settings.signals:
            return True  # it has made no call yet, and nobody sends any
        if (next_signal := task.tape.next_signal()) is not None:
            if next_signal[0] <= task.instructions:
                signals.send(next_signal[1])
        elif self.settings.signals and task.vcpu is None and self.random.random() < self.settings.signals:
            handled = [n for n in (USR1, USR2) if signals.handles(n)]
            if handled and not signals.in_handler:
                signals.send(self.random.choice(handled))
        number = signals.due()
        if not number:
            return True
        task.tape.signal(task.instructions, number)
        if not signals.handles(number):
            self.kill(c, task, default_action(number))
            return False
        if not self.signals:
            why = f"policy '{self.rows.policy.name}' handles no signals"
            raise FpstateError(f"'{task.program.name}' gets signal {number}, but {why}", expected="another policy")
        self.event(SIGNAL, c, task)
        self.engines[c].put_away()
        if task.registers.engine is not None:
            task.registers.engine.put_away()
        saved = Saved(self.twin.frames[task.context], self.twin.frames_sve.get(task.context, b""))
        if not build_frame(task.space, task.registers, signals, number, saved):
            self.kill(c, task, f"has no room on its stack for the frame of signal {number}")
            return False
        return True

    def sigreturn(self, c: int, task: Task) -> None:
        """Let a task go on as the frame at its stack pointer says."""
        self.engines[c].put_away()
        saved = read_frame(task.space, task.registers)
        sve = self.engines[0].sve
        if saved is None or (saved.sve and (sve is None or len(saved.sve) != sve.size)):
            self.kill(c, task, "returns from a signal with no frame on its stack")
            return
        self.twin.frames[task.context] = saved.fp
        if saved.sve:
            self.twin.frames_sve[task.context] = saved.sve
            self.event(SIGRETURN_SVE, c, task)
        else:
            self.event(SIGRETURN, c, task)
        self.linux(task).signals.in_handler = False

    def linux(self, who: Runner) -> Linux:
        """Return the system calls of a task, or of a guest that makes some."""
        if who.linux is None:
            pid = FIRST_PID + who.context - self.settings.cpus
            who.linux = Linux(who.space, who.tape, pid, self.kill_other)
        return who.linux

    def kill_other(self, pid: int, number: int) -> bool:
        """Send a signal (0: none) to the task with a process id; return whether there is one."""
        for task in self.tasks:
            if FIRST_PID + task.context - self.settings.cpus == pid and task.state is not State.DEAD:
                if number:
                    self.linux(task).signals.send(number)
                return True
        return False

    def kill(self, c: int, task: Task, why: str) -> None:
        """End a task that cannot go on."""
        task.killed = task.killed or why
        self.end(c, task)

    def end(self, c: int, task: Task) -> None:
        """Let a task die: its vCPU, if it has one, never runs again."""
        self.event(EXIT, c, task)
        task.state = State.DEAD
        self.engines[c].put_away()
        if task.vcpu is not None and not task.vcpu.ended:
            task.vcpu.killed = "its VMM has ended"
        self.left[c] = 0

    def system_call(self, c: int, task: Task, engine: Engine) -> None:
        """Serve a system call: number in x8, arguments from x0 on, as Linux has it."""
        a = engine.call()
        number = a[8]
        if number in (SYS_EXIT, SYS_EXIT_GROUP):
            task.code = a[0] & 255
            self.end(c, task)
        elif number == SYS_YIELD:
            engine.set_x(0, 0)
            self.left[c] = 0
        elif number == SYS_HASH and self.neon:
            self.hash_begin(c, task)
            if self.rows.policy.preemptible_neon and self.random.random() < 0.5:
                self.left[c] = 0  # preempted between the halves
            else:
                self.hash_end(c, task)
        elif number == SYS_IOCTL and task.vcpu is not None:
            self.kvm_run(c, task, task.vcpu)
        elif number == RT_SIGRETURN:
            self.sigreturn(c, task)
        else:
            self.serve(task, engine, a)

    def serve(self, who: Runner, engine: Engine, a: list[int]) -> None:
        """Serve a system call of a task, or of a guest for which the machine is its own kernel."""
        engine.set_x(0, self.linux(who).call(a[8], a, who.output, self.twin.now))

    # KVM.

    def kvm_run(self, c: int, task: Task, vcpu: Vcpu) -> None:
        """Serve the KVM_RUN ioctl: finish what the VMM was asked for, and enter the run loop."""
        if vcpu.ended:
            self._tell(task, REASON_END)
            return
        if vcpu.pending is not None:
            data = task.space.read(RUN_PAGE + 16, 8) or bytes(8)
            vcpu.registers.values[vcpu.pending] = int.from_bytes(data, "little")
            vcpu.pending = None
        self.event(RUN_ENTER, c, task, vcpu)
        task.in_run = True
        self.event(LOAD, c, task, vcpu)

    def guest(self, c: int, task: Task) -> None:
        """Enter the guest until it exits, and serve what it exited for: here, or by leaving to the VMM."""
        vcpu = task.vcpu
        assert vcpu is not None
        self.event(ENTER, c, task, vcpu)
        stop = self.execute(c, task, vcpu)
        self.event(EXIT_GUEST, c, task, vcpu)
        self.exits += 1
        engine = self.engines[c]
        if vcpu.killed:
            self.leave_run(c, task, vcpu, REASON_END)
        elif stop is Stop.HVC:
            self.hypercall(c, task, vcpu, engine)
        elif stop is Stop.SVC:
            self.guest_call(c, task, vcpu, engine)
        elif stop is Stop.WFI:  # kvm_vcpu_block
            task.state, task.wake = State.BLOCKED, self.turns + self.random.randint(1, 4)
            self.left[c] = 0
        elif stop is Stop.FAULT and DEVICE <= engine.fault < DEVICE + PAGE:
            self.mmio(c, task, vcpu, engine)
        elif stop is not Stop.SLICE:
            vcpu.killed = self._why(engine, vcpu)
            self.leave_run(c, task, vcpu, REASON_END)

    def hypercall(self, c: int, task: Task, vcpu: Vcpu, engine: Engine) -> None:
        """Serve a hypercall without leaving the run loop, unless the guest is done."""
        number = engine.x(8)
        if number == SYS_EXIT:
            vcpu.code = engine.x(0) & 255
            self.leave_run(c, task, vcpu, REASON_END)
        elif number == SYS_WRITE:
            data = vcpu.space.read(engine.x(1), min(engine.x(2), 1 << 16))
            vcpu.output += data or b""
            engine.set_x(0, -14 if data is None else len(data))
        elif number == SYS_YIELD:
            engine.set_x(0, 0)
        else:
            engine.set_x(0, -38)  # ENOSYS

    def guest_call(self, c: int, task: Task, vcpu: Vcpu, engine: Engine) -> None:
        """Serve a system call that a guest's program makes of its own kernel: that forwards it, and has no signals."""
        a = engine.call()
        number = a[8]
        if number in (SYS_EXIT, SYS_EXIT_GROUP):
            vcpu.code = a[0] & 255
            self.leave_run(c, task, vcpu, REASON_END)
        elif number == SYS_YIELD:
            engine.set_x(0, 0)
        else:
            self.serve(vcpu, engine, a)
            if (signals := self.linux(vcpu).signals).waiting:
                vcpu.killed = default_action(signals.waiting.pop())
                self.leave_run(c, task, vcpu, REASON_END)

    def mmio(self, c: int, task: Task, vcpu: Vcpu, engine: Engine) -> None:
        """Decode a guest's access to its device into what ESR_EL2.ISS would have said, and ask the VMM."""
        pc = engine.pc()
        word = vcpu.space.word(pc)
        size, register, is_write = 1 << (word >> 30), word & 31, not word >> 22 & 1
        if word >> 27 & 7 != 7 or word >> 26 & 1:  # not a load or store of one general register
            vcpu.killed = f"accesses its device by {word:#010x} at {pc:#x}, which has no syndrome"
            self.leave_run(c, task, vcpu, REASON_END)
            return
        data = engine.x(register) & (1 << 8 * size) - 1 if is_write and register < 31 else 0
        engine.set_pc(pc + 4)
        engine.put_away()
        vcpu.pending = None if is_write or register == 31 else register
        self._tell(task, REASON_MMIO, engine.fault, data, size, is_write)
        self.leave_run(c, task, vcpu, None)

    def leave_run(self, c: int, task: Task, vcpu: Vcpu, reason: int | None) -> None:
        """Leave the KVM_RUN ioctl; unless None, `reason` goes to the VMM."""
        if reason is not None:
            self._tell(task, reason)
        self.event(PUT, c, task, vcpu)
        self.event(RUN_EXIT, c, task, vcpu)
        task.in_run = False
        if vcpu.ended:
            self.engines[c].put_away()

    def _tell(
        self, task: Task, reason: int, address: int = 0, data: int = 0, size: int = 0, write: bool = False
    ) -> None:
        words = (reason, address, data, size, int(write))
        task.space.write(RUN_PAGE, b"".join(w.to_bytes(8, "little") for w in words))


def _names(tasks: list[Task]) -> list[str]:
    """Return what to call tasks and then vCPUs: by their programs, numbered where several run the same one."""
    names: list[str] = []
    wanted = [t.program.name if t.vcpu is None else f"vmm-{t.vcpu.program.name}" for t in tasks]
    wanted += [f"guest-{t.vcpu.program.name}" for t in tasks if t.vcpu is not None]
    for i, name in enumerate(wanted):
        names.append(f"{name}.{wanted[:i].count(name) + 1}" if wanted.count(name) > 1 else name)
    return names
