"""Speed of the machine beside bare Unicorn, and what an exit of a guest and its next entry cost.

    python benchmarks/bench_run.py [--short]

Both sides run in one process by turns, in its CPU time, so ratios hold where times do not. Bare Unicorn runs the same
code in a plain engine, with one hook that serves system calls: once in one piece, and once in slices of 10,000
instructions.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import unicorn
from unicorn.arm64_const import (
    UC_ARM64_REG_PC,
    UC_ARM64_REG_PSTATE,
    UC_ARM64_REG_SP,
    UC_ARM64_REG_X0,
    UC_ARM64_REG_X8,
    UC_CPU_ARM64_A72,
)

from fpstate.machine.elf import Program, Segment, bundled
from fpstate.machine.host import Host, Machine, Settings, State
from fpstate.policies.catalogue import find_policy
from fpstate.rows.learn import Rows

SLICE = 10_000
EXIT_CODES = (93, 94)


class Bare:
    """A plain Unicorn engine with one program in it."""

    def __init__(self, program: Program, *, el: int = 0) -> None:
        self.uc = uc = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
        uc.ctl_set_cpu_model(UC_CPU_ARM64_A72)
        self.program = program
        for s in program.segments:
            first, last = s.address & ~0xFFF, (s.address + s.size + 0xFFF) & ~0xFFF
            uc.mem_map(first, last - first)
            uc.mem_write(s.address, s.data)
        uc.mem_map(0x7F000000, 0x10000)
        uc.reg_write(UC_ARM64_REG_PSTATE, 0x3C5 if el else 0)
        uc.cpr_write(3, 0, 1, 0, 2, 3 << 20)
        uc.hook_add(unicorn.UC_HOOK_INTR, self.interrupt)
        self.done = False

    def interrupt(self, uc: unicorn.Uc, _number: int, _data: object) -> None:
        """Serve a system call: the program has ended, or it goes on."""
        if uc.reg_read(UC_ARM64_REG_X8) in EXIT_CODES:  # at an hvc, which is undefined here, or behind an svc
            self.done = True
            uc.emu_stop()
        uc.reg_write(UC_ARM64_REG_X0, 0)

    def run(self, count: int) -> float:
        """Run the program to its end in slices of `count` instructions (0: one piece); return seconds."""
        uc = self.uc
        for s in self.program.segments:
            if s.writable:
                uc.mem_write(s.address, s.data.ljust(s.size, b"\0"))
        uc.reg_write(UC_ARM64_REG_SP, 0x7F00FF00)
        uc.reg_write(UC_ARM64_REG_X0, 0)
        self.done, at = False, self.program.entry
        began = time.process_time()
        while not self.done:
            uc.emu_start(at, 0, 0, count)
            at = uc.reg_read(UC_ARM64_REG_PC)
        return time.process_time() - began


def words(*codes: int) -> bytes:
    """Return instructions as bytes."""
    return b"".join(code.to_bytes(4, "little") for code in codes)


SUBS, FADD2, FMUL, FMADD = 0xF1000400, 0x1E612802, 0x1E610803, 0x1F410C44
VADD, VFMLA, ADD, EOR = 0x4EE184A5, 0x4E61CC06, 0x8B010042, 0xCA020063
LOOPS = {
    "integer loop": [ADD, EOR] * 4,
    "loop of 2 FP and 6 integer": [FADD2, ADD, EOR, ADD, FMUL, EOR, ADD, EOR],
    "scalar FP loop": [FADD2, FMUL, FMADD, FADD2] * 2,
    "NEON loop": [VFMLA, VADD] * 4,
}


def counted_loop(body: list[int], turns: int) -> Program:
    """Return a program that does `body` so many times and exits."""
    count = [0xD2800000 | (turns & 0xFFFF) << 5, 0xF2A00000 | (turns >> 16) << 5]  # mov x0, turns
    back = 0x54000001 | (-(len(body) + 1) & 0x7FFFF) << 5  # b.ne
    leave = [0xD2800BA8, 0xD4000002, 0xD4000001]  # mov x8, #93; hvc (a guest), svc (else)
    code = words(*count, *body, SUBS, back, *leave)
    return Program("loop", (Segment(0x400000, code, len(code), writable=False, executable=True),), 0x400000, 0, 0, {})


def guest_speed(name: str, program: Program, guests: int, runs: int) -> None:
    """Print instructions per second of one program: bare, bare in slices, and as guests that take turns on one CPU."""
    bare, sliced, machine = Bare(program), Bare(program), Machine(1)
    rows = Rows(find_policy("linux-6.14"))
    bare.run(0), sliced.run(SLICE)
    speeds: dict[str, list[float]] = {"bare": [], "sliced": [], "machine": []}
    for _ in range(runs):
        host = Host(rows, Settings(cpus=1, slice=SLICE, softirq=0.1), machine)
        for _ in range(guests):
            host.add_vm(program, 10**10)
        began = time.process_time()
        host.run()
        seconds = time.process_time() - began
        count = host.vcpus[0].instructions
        speeds["machine"].append(guests * count / seconds)
        speeds["bare"].append(count / bare.run(0))
        speeds["sliced"].append(count / sliced.run(SLICE))
    b, s, m = (statistics.median(speeds[k]) / 1e6 for k in ("bare", "sliced", "machine"))
    each = guests * count / host.exits
    print(
        f"{name:27} {each:6,.0f} instructions an exit, {guests} guests: bare {b:7.1f} M/s, bare in slices {s:6.1f}, "
        f"machine {m:6.1f}: {m / b:.2f} of bare, {m / s:.2f} of bare in slices"
    )


FADD, HVC, BACK = 0x1E602800, 0xD4000002, 0x17FFFFFE
YIELD = 0xD2800F88  # mov x8, #124


def loop_program(body: int) -> Program:
    """Return a guest that forever does one instruction and a hypercall."""
    code = words(YIELD, body, HVC, BACK)
    return Program("loop", (Segment(0x400000, code, len(code), writable=False, executable=True),), 0x400000, 0, 0, {})


def exit_and_entry(what: str, body: int, turns: int) -> None:
    """Print the median time of a guest's run, exit and way back to its next entry, and of Unicorn's part in it."""
    machine = Machine(1)
    host = Host(Rows(find_policy("linux-6.14")), Settings(cpus=1, slice=10**9, softirq=0.0), machine)
    host.add_vm(loop_program(body), 10**9)
    host.start()
    while not host.tasks[0].in_run:
        host.turn(0)
    for _ in range(50):
        host.turn(0)
    before = host.twin.report.counts.copy()
    uc = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
    uc.mem_map(0x400000, 0x1000)
    uc.mem_write(0x400000, words(YIELD, body, HVC, BACK))
    uc.cpr_write(3, 0, 1, 0, 2, 3 << 20)
    uc.hook_add(unicorn.UC_HOOK_INTR, lambda u, _number, _data: u.emu_stop())
    ours, theirs = [], []
    for _ in range(turns):
        ours.append(_timed(lambda: host.turn(0)))
        theirs.append(_timed(lambda: uc.emu_start(0x400000, 0)))
    assert host.tasks[0].state is State.RUNNABLE
    assert (host.twin.report.counts == before).all(), "FP state was moved"
    a, b = statistics.median(ours), statistics.median(theirs)
    print(f"exit and next entry, {what}: {a:.1f} us at the median, of which bare Unicorn {b:.1f} us ({b / a:.0%})")


def _timed(do: Callable[[], object]) -> float:
    began = time.perf_counter_ns()
    do()
    return (time.perf_counter_ns() - began) / 1000


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    short = parser.parse_args().short
    for name, body in LOOPS.items():
        for guests in (1, 2):
            guest_speed(name, counted_loop(body, 100_000 if short else 300_000), guests, 3 if short else 11)
    for name in ("mandelbrot", "matrix"):
        guest_speed(name, bundled(name), 2, 5 if short else 40)
    for what, word in (("no FP in the guest", 0xD503201F), ("FP used in each run, registers stay live", FADD)):
        exit_and_entry(what, word, 500 if short else 5000)


if __name__ == "__main__":
    main()
