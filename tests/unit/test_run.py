"""Programs under policies: correct ones change nothing, wrong ones are seen, and the trace of a run is exact."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

pytest.importorskip("unicorn")
pytest.importorskip("elftools")

from fpstate.check.run import check
from fpstate.costs import load_profile
from fpstate.errors import FpstateError
from fpstate.machine.elf import Program, Segment, bundled, find_program
from fpstate.machine.engine import Engine
from fpstate.machine.follow import follow_path, pattern
from fpstate.machine.host import Settings
from fpstate.machine.record import as_trace
from fpstate.machine.run import Laboratory, Result, all_bundled, handles_guests
from fpstate.machine.run import run as run_programs
from fpstate.machine.twin import Difference
from fpstate.paths.scope import Scope
from fpstate.policies.base import Policy, kernel_function, with_features
from fpstate.policies.catalogue import bugs, find_policy, policies
from fpstate.policies.linux_4_18 import Linux418
from fpstate.replay.compare import compare
from fpstate.replay.engine import replay
from fpstate.replay.validate import validate
from fpstate.rows.learn import Rows
from fpstate.traces.describe import describe
from fpstate.traces.parquet import read_parquet, write_parquet
from fpstate.traces.trace import Trace
from fpstate.world.events import Event
from fpstate.world.operations import N_CLEAR, N_LOAD_HOST, N_SAVE_SVE, N_SVE_TRAP, N_USER_TRAP
from fpstate.world.verdicts import IN_WORDS, KERNEL_VALUE_LOST, WRONG_VALUE

CORRECT = sorted(set(policies()) - {"defer-to-put", "riscv-kvm-6.8"})
PROGRAMS = all_bundled()


@pytest.fixture(scope="module")
def laboratory() -> Laboratory:
    return Laboratory(8)


def run(
    laboratory: Laboratory, policy: str, seed: int = 1, *, slice_: int = 2000, cpus: int = 2, softirq: float = 0.2
) -> tuple[Result, Trace]:
    settings = Settings(cpus, slice_, seed, softirq)
    result, host = laboratory.run(Rows(find_policy(policy)), settings, PROGRAMS, PROGRAMS)
    return result, as_trace(host)


@pytest.mark.parametrize("policy", CORRECT)
def test_correct_policies_change_nothing(laboratory: Laboratory, policy: str) -> None:
    """Every program prints what it prints alone, in as many instructions. `benchmarks/seeds.py` does 1,000 seeds."""
    for seed in range(1, 4):
        result, _ = run(laboratory, policy, seed, slice_=1000 + 700 * seed, cpus=1 + seed % 3)
        assert result.ok, f"seed {seed}: {[p.name for p in result.programs if not p.ok]}"
        assert result.saves > 100
        for p in result.programs:
            alone, vmm = laboratory.alone(
                bundled(p.program) if p.kind != "vmm" else PROGRAMS[0], guest=p.kind != "task"
            )
            assert p.kind == "vmm" or p.instructions == alone.instructions
            assert (vmm is None) == (p.kind == "task")


def test_the_same_seed_gives_the_same_run_and_another_one_does_not(laboratory: Laboratory) -> None:
    logs = []
    for seed in (5, 5, 6):
        settings = Settings(3, 2000, seed, 0.2)
        result, host = laboratory.run(Rows(find_policy("linux-4.18")), settings, PROGRAMS, PROGRAMS)
        logs.append((host.twin.log, [(p.name, p.result, p.instructions, p.saves, p.loads) for p in result.programs]))
    assert logs[0] == logs[1]
    assert logs[0][0] != logs[2][0]


def test_eight_cpus_and_sixty_four_vcpus() -> None:
    laboratory = Laboratory(8, megabytes=128)
    rows = Rows(find_policy("linux-6.14"))
    guests = [PROGRAMS[i % len(PROGRAMS)] for i in range(64)]
    result, _ = laboratory.run(rows, Settings(8, 5000, 1, 0.1), [], guests)
    assert result.ok
    assert len(result.programs) == 128


# What goes wrong is seen.


def test_the_patch_as_posted_corrupts_guests_once_softirqs_use_neon(laboratory: Laboratory) -> None:
    wrong, _ = run(laboratory, "defer-to-put", 1, slice_=3000)
    assert not wrong.ok
    victims = [p for p in wrong.programs if not p.identical]
    assert victims
    told = next(p for p in victims if p.path)
    assert told.first_wrong is not None
    assert told.first_wrong.expected != told.first_wrong.got
    assert told.path[-1].event in ("guest_fp", "user_fp")
    assert "policies" in told.blame
    assert wrong.verdicts == {IN_WORDS[WRONG_VALUE]: wrong.wrong}


VISIBLE = ("A6", "A32", "M-defer", "M-notifier", "N1", "N2", "N5", "N6", "P4", "P5")


@pytest.mark.parametrize("name", VISIBLE)
def test_historical_bugs_give_wrong_results_and_their_fixes_do_not(laboratory: Laboratory, name: str) -> None:
    bug = bugs()[name]
    settings = Settings(bug.cpus, 2000, 1, 0.2)
    for policy, good in ((bug.faulty, False), (bug.fixed, True)):
        guests = PROGRAMS if handles_guests(policy) else []
        result, _ = laboratory.run(Rows(policy), settings, PROGRAMS, guests)
        assert all(p.identical for p in result.programs) is good
        assert result.ok is good


def test_kernel_values_that_are_lost_are_told_and_the_machine_goes_on(laboratory: Laboratory) -> None:
    """A softirq takes the registers of a kernel NEON section: the section then finds others."""
    right = find_policy("linux-6.14")

    class Forgets(right):  # type: ignore[misc, valid-type]
        name = "forgets"

        def softirq_neon_end(self, cpu: Policy.Cpu, task: Policy.Task) -> None:
            """Not load the kernel's state again."""

    result, _ = laboratory.run(Rows(Forgets), Settings(1, 300, 1, 0.9), PROGRAMS, [])
    assert set(result.verdicts) == {IN_WORDS[KERNEL_VALUE_LOST]}
    assert result.verdicts[IN_WORDS[KERNEL_VALUE_LOST]] > 10
    assert not result.ok


def test_a_lost_load_is_a_difference(laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the machine does not do what the policy asked for, the run stops at once and shows both sides."""
    laboratory.alone(PROGRAMS[0], guest=False)
    real = Engine.load_fp
    calls = []

    def forgetful(self: Engine, pointers: object) -> None:
        calls.append(1)
        if len(calls) != 20:
            real(self, pointers)

    settings = Settings(1, 2000, 1, 0.2)
    monkeypatch.setattr(Engine, "load_fp", forgetful)
    with pytest.raises(Difference, match=r"by the world the registers of CPU 0 .* in the machine 0x"):
        laboratory.run(Rows(find_policy("linux-6.14")), settings, PROGRAMS[:1] * 3, [])
    assert len(calls) == 20


def test_a_save_to_the_wrong_place_is_a_difference(laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    for program in PROGRAMS[:2]:
        laboratory.alone(program, guest=False)
    monkeypatch.setattr(Engine, "save_fp", lambda self, pointers: None)
    with pytest.raises(Difference, match="image of context"):
        laboratory.run(Rows(find_policy("eager")), Settings(1, 2000, 1, 0.2), PROGRAMS[:2], [])


# Traces.


@pytest.mark.parametrize("policy", sorted(policies()))
def test_replay_of_a_run_counts_what_the_run_counted(laboratory: Laboratory, policy: str) -> None:
    result, trace = run(laboratory, policy, 2)
    for maybe in (False, True):
        counts = replay(trace, Rows(find_policy(policy)), maybe=maybe).counts
        saves, loads = counts[:N_LOAD_HOST], counts[N_LOAD_HOST:N_CLEAR]
        found = [int(figures.sum()) for figures in (saves, loads, counts[N_USER_TRAP:N_SAVE_SVE])]
        assert found == [result.saves, result.loads, result.traps]


def test_a_trace_of_a_run_is_read_by_all_commands(laboratory: Laboratory, tmp_path: Path) -> None:
    _, trace = run(laboratory, "linux-4.18", 3)
    write_parquet(trace, tmp_path / "run.parquet")
    again = read_parquet(tmp_path / "run.parquet")
    assert (again.event == trace.event).all()
    compared = compare(again, [find_policy(p) for p in CORRECT], load_profile("altra-vhe"))
    assert all(p.low == p.high and p.broken is None for p in compared.policies)
    assert compared.bound_low == compared.bound_high
    validated = validate(again, find_policy("linux-4.18"))
    assert validated.exact
    assert validated.observed["hw_save"] > 100
    assert not validate(again, find_policy("linux-6.14")).exact
    about = describe(again)
    assert about["kinds"] == {"idle": 2, "kthread": 0, "user": 16, "vcpu": 8}
    assert not about["unobserved"]


# SVE.

SVE_CORRECT = ("linux-4.18", "linux-5.2", "linux-5.13", "linux-6.2", "linux-6.8", "linux-6.14", "mark-foreign")


@pytest.mark.parametrize("vector_length", [16, 256, *(pytest.param(n, marks=pytest.mark.long) for n in (48, 128))])
def test_sve_programs_compute_the_same_under_correct_policies(vector_length: int) -> None:
    laboratory = Laboratory(2, vector_length=vector_length)
    sve = find_program("sve")
    tasks = [sve, bundled("fpregs"), sve, bundled("rounding"), sve]
    assert laboratory.alone(sve, guest=False)[0].code == 0
    for name in SVE_CORRECT:
        rows = Rows(with_features(find_policy(name), ["sve"]))
        for seed in (1, 5):
            result, host = laboratory.run(rows, Settings(1, 165 + seed * 7, seed, 0.3), tasks, [bundled("nbody")])
            assert result.ok, name
            assert host.twin.report.counts[N_SVE_TRAP] >= 3
        counts = replay(as_trace(host), Rows(with_features(find_policy(name), ["sve"])), maybe=True).counts
        assert counts.tolist() == host.twin.report.counts.tolist(), name


SVE_POLICIES = sorted(name for name, policy in policies().items() if "sve" in policy.supports)


@pytest.mark.parametrize("name", SVE_POLICIES)
def test_guests_beside_tasks_with_sve_leave_them_their_registers(name: str) -> None:
    """Under policies that swap at guest entry and exit, too: the host's copy is the CPU's own, and has V alone."""
    laboratory = Laboratory(2, vector_length=32)
    sve, rows = find_program("sve"), Rows(with_features(find_policy(name), ["sve"]))
    tasks, guests = [sve, bundled("fpregs"), sve], [bundled("nbody"), bundled("rounding")]
    for seed in (1, 2):
        result, host = laboratory.run(rows, Settings(2, 500, seed, 0.3), tasks, guests)
        assert result.ok
        assert host.exits > 20


class SavesOnlyV(Linux418):
    """A kernel that was never taught SVE but lets tasks use it."""

    name = "saves-only-v"

    @kernel_function
    def fpsimd_save(self, cpu: Linux418.Cpu, task: Linux418.Task) -> None:
        if not task.foreign:
            cpu.save(task)


def test_saving_only_v_loses_the_rest_of_z() -> None:
    laboratory = Laboratory(1, vector_length=32)
    rows = Rows(with_features(SavesOnlyV, ["sve"]))
    result, _ = laboratory.run(rows, Settings(1, 100, 1, 0.2), [find_program("sve")] * 3, [])
    wrong = [p.first_wrong for p in result.programs if p.first_wrong is not None]
    assert wrong
    assert all(w.expected != w.got for w in wrong)
    assert any("SVE registers" in what for what in result.verdicts)
    assert not all(p.identical for p in result.programs)


class NeverLifts(Linux418):
    """A kernel that serves the SVE trap and leaves it armed."""

    name = "never-lifts"

    def sve_trap(self, cpu: Linux418.Cpu, task: Linux418.Task) -> None:
        cpu.user_sve_trap = True


def test_a_use_of_sve_that_traps_for_ever_ends_the_program() -> None:
    laboratory = Laboratory(1, vector_length=32)
    rows = Rows(with_features(NeverLifts, ["sve"]))
    result, _ = laboratory.run(rows, Settings(1, instructions=100_000), [find_program("sve")], [])
    assert "traps again each time" in result.programs[0].stopped
    assert not result.ok


def test_a_warning_in_the_trap_handler_does_not_hide_the_use() -> None:
    """The use that trapped is tried again, and is one that machine and world both know."""
    laboratory = Laboratory(1, vector_length=32)
    rows = Rows(with_features(bugs()["M-flush"].faulty, ["sve"]))
    tasks = [find_program("sve"), bundled("fpregs"), find_program("sve")]
    for seed in range(1, 6):
        result, _ = laboratory.run(rows, Settings(1, 300, seed, 0.3), tasks, [])
        if any("WARN_ON" in what for what in result.verdicts):
            return
    pytest.fail("no seed makes the kernel warn")


# Programs of one's own.


def words(*codes: int) -> Program:
    code = b"".join(c.to_bytes(4, "little") for c in codes)
    return Program("own", (Segment(0x400000, code, len(code), False, True),), 0x400000, 0, 0, {})


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        ([0x00000000], "cannot execute 0x00000000 at 0x400000"),
        ([0xF9400001], "accesses 0x0, which is not its memory"),  # ldr x1, [x0]
        ([0xD61F0000], "jumps to 0x0, where it has no code"),  # br x0
        ([0xD4000002], "cannot execute 0xd4000002"),  # hvc in user mode
        ([0x390003FF, 0x10000000, 0x39000000], "which is not its memory"),  # writes its own code
    ],
)
def test_a_program_that_cannot_go_on_is_stopped_and_told(laboratory: Laboratory, codes: list[int], said: str) -> None:
    alone = laboratory.alone(words(*codes), guest=False)[0]
    assert said in alone.killed


def test_a_system_call_the_machine_does_not_have_is_refused(laboratory: Laboratory) -> None:
    """Its code: mov x8, #1234; svc; neg x0, x0; mov x8, #93; svc. It exits with ENOSYS."""
    alone = laboratory.alone(words(0xD2809A48, 0xD4000001, 0xCB0003E0, 0xD2800BA8, 0xD4000001), guest=False)[0]
    assert alone.code == 38


# It reads CNTFRQ, CNTVCT twice, ID_AA64PFR0 and ID_AA64ISAR0, and writes them.
READS = words(
    0xD53BE013, 0xD53BE054, 0xD53BE055, 0xD5380416, 0xD5380617, 0xD10103FF, 0xA90053F3, 0xA9015BF5, 0xF90013F7,
    0xB4000040, 0xD503201F, 0xD2800020, 0x910003E1, 0xD2800502, 0xD2800808, 0xD4000001, 0xD2800000, 0xD2800BA8,
    0xD4000001,
)  # fmt: skip
# Its handler of SIGUSR1 changes d8, and in its frame x19 (to 7) and d9 (to 4.0). It sets d8 and d9 to 2.0 and x19 to 0,
# sends itself that signal, and writes d8, d9 and x19.
SIGNALLED = words(
    0xD10103FF, 0x100003A0, 0xF90003E0, 0xD2800080, 0xF90007E0, 0xF9000BFF, 0xF9000FFF, 0xD2800140, 0x910003E1,
    0xD2800002, 0xD2800103, 0xD28010C8, 0xD4000001, 0x1E601008, 0x1E601009, 0xD2800013, 0xD2800000, 0xD2800141,
    0xD2801028, 0xD4000001, 0x6D0027E8, 0xF9000BF3, 0xD2800020, 0x910003E1, 0xD2800302, 0xD2800808, 0xD4000001,
    0xD2800000, 0xD2800BA8, 0xD4000001, 0x1E621008, 0x9E660100, 0xF9013840, 0xD28000E0, 0xF900A840, 0xD65F03C0,
)  # fmt: skip
TO_101 = words(
    0xD2800CA0, 0xD2800001, 0xD2801028, 0xD4000001, 0xCB0003E0, 0xD2800BA8, 0xD4000001
)  # exit(-kill(101, 0))
ABORTS = words(0xD2800000, 0xD28000C1, 0xD2801028, 0xD4000001, 0x14000000)  # kill(0, SIGABRT), and on for ever
ENDLESS = words(0x14000000)
ENDLESS_UNTIL = words(0xD280FA01, 0xD1000421, 0xB5FFFFE1, 0xD2800000, 0xD2800BA8, 0xD4000001)  # 2000 rounds
# It counts SIGUSR1 in x19, by way of the frame, and goes on using d8 and d9 for ever.
COUNTS = words(
    0xD10103FF, 0x100001A0, 0xA9007FE0, 0xA9017FFF, 0xD2800140, 0x910003E1, 0xD2800002, 0xD2800103, 0xD28010C8,
    0xD4000001, 0xD2800013, 0x1E601008, 0x1E604109, 0x17FFFFFF, 0x1E621008, 0x1E621009, 0xF940A840, 0x91000400,
    0xF900A840, 0xD65F03C0,
)  # fmt: skip
# The same, adding up z8 and p0 for ever; its handler overwrites both.
COUNTS_SVE = words(
    0xD10103FF, 0x100001E0, 0xA9007FE0, 0xA9017FFF, 0xD2800140, 0x910003E1, 0xD2800002, 0xD2800103, 0xD28010C8,
    0xD4000001, 0xD2800013, 0x25F8C028, 0x25D8E3E0, 0x04C00108, 0x05020008, 0x17FFFFFE, 0x25F8C0E8, 0x2518E400,
    0xF940A840, 0x91000400, 0xF900A840, 0xD65F03C0,
)  # fmt: skip
# The same with a system call in each round, after which only V is there.
CALLS_SVE = words(
    0xD10103FF, 0x10000260, 0xA9007FE0, 0xA9017FFF, 0xD2800140, 0x910003E1, 0xD2800002, 0xD2800103, 0xD28010C8,
    0xD4000001, 0xD2800013, 0x25F8C028, 0x25D8E3E0, 0x25D8E3E0, 0x04C00108, 0x05020008, 0xD2801588, 0xD4000001,
    0x9E660109, 0x17FFFFFA, 0x25F8C0E8, 0x2518E400, 0xF940A840, 0x91000400, 0xF900A840, 0xD65F03C0,
)  # fmt: skip
# It compares d8 with what it put there 3,000 times and exits, or goes on to an SVE instruction if d8 differs.
GOES_ASTRAY = words(
    0xAA0003E9, 0xD2817701, 0x1E601008, 0x9E660102, 0x9E660103, 0xEB03005F, 0x540000C1, 0xD1000421, 0xB5FFFF81,
    0xD2800000, 0xD2800BA8, 0xD4000001, 0x04BF5020,
)  # fmt: skip
LINUX = Rows(find_policy("linux-6.14"))


@pytest.mark.parametrize("vector_length", [0, 32])
def test_counters_are_the_machines_time_and_id_registers_say_what_it_has(vector_length: int) -> None:
    laboratory = Laboratory(2, vector_length=vector_length)
    rows = Rows(with_features(find_policy("linux-6.14"), ["sve"])) if vector_length else LINUX
    result, host = laboratory.run(rows, Settings(2, 100), [READS, ENDLESS_UNTIL, READS], [READS])
    assert result.ok, [p.stopped for p in result.programs]
    times = []
    for runner in (host.tasks[0], host.tasks[2], host.vcpus[0]):
        frequency, first, second, pfr0, isar0 = struct.unpack("<5Q", runner.output)
        assert (frequency, isar0) == (10**9, 0)
        assert second == first + 1
        assert first <= host.twin.now
        assert runner.tape.answers == [first, second]
        assert pfr0 == 0x11 | (1 << 32 if vector_length and runner in host.tasks else 0)
        times.append(first)
    assert len(set(times)) == 3


def test_a_signal_handler_runs_and_its_frame_is_what_comes_back(laboratory: Laboratory) -> None:
    for name in CORRECT:
        result, host = laboratory.run(Rows(find_policy(name)), Settings(2, 100, 1, 0.5), [SIGNALLED] * 3, [])
        assert result.ok, name
        for task in host.tasks:
            assert struct.unpack("<ddQ", task.output) == (2.0, 4.0, 7)
            assert task.tape.signals == [(20, 10)]


def test_signals_from_outside_come_at_the_same_places_alone(laboratory: Laboratory) -> None:
    """A handler is entered between any two slices; the program's own count of them is the machine's."""
    settings = Settings(2, 200, 3, 0.3, instructions=100_000, signals=0.3)
    host = laboratory.host(LINUX, settings, [COUNTS] * 3, [])
    host.run()
    for engine in host.engines:
        engine.put_away()
    for task in host.tasks:
        assert len(task.tape.signals) > 5
        assert task.registers.values[19] in (len(task.tape.signals), len(task.tape.signals) - 1)
    assert laboratory.run(LINUX, settings, [COUNTS] * 3, [])[0].ok


@pytest.mark.parametrize("vector_length", [16, 256])
def test_signal_frames_with_an_sve_record_are_right_under_every_policy_that_knows_sve(vector_length: int) -> None:
    """The longest does not fit into the frame, and lies behind it."""
    laboratory = Laboratory(2, vector_length=vector_length)
    for name in SVE_POLICIES:
        rows = Rows(with_features(find_policy(name), ["sve"]))
        settings = Settings(2, 100, 3, 0.3, instructions=3_000, signals=0.3)
        result, host = laboratory.run(rows, settings, [COUNTS_SVE] * 3, [])
        assert result.ok, name
        events = host.twin.log.columns()[2].tolist()
        assert events.count(Event.SIGRETURN_SVE) > 3, name
        assert events.count(Event.SIGNAL) >= events.count(Event.SIGRETURN_SVE)


def test_a_signal_frame_built_from_sve_state_that_was_not_saved_is_wrong_bits() -> None:
    laboratory, bug = Laboratory(2, vector_length=32), bugs()["A23-delivery"]
    settings = Settings(2, 100, 3, 0.3, instructions=6_000, signals=0.3)
    faulty, fixed = (
        laboratory.run(Rows(with_features(p, ["sve"])), settings, [CALLS_SVE] * 3, [])[0]
        for p in (bug.faulty, bug.fixed)
    )
    assert fixed.ok
    assert not faulty.ok
    assert any(p.first_wrong is not None for p in faulty.programs)


def test_processes_find_each_other_by_number(laboratory: Laboratory) -> None:
    result, host = laboratory.run(LINUX, Settings(1, 100), [TO_101, ENDLESS_UNTIL], [])
    assert result.ok
    assert host.tasks[0].code == 0
    assert laboratory.alone(TO_101, guest=False)[0].code == 3  # ESRCH


@pytest.mark.parametrize("guest", [False, True])
def test_a_program_that_sends_itself_a_signal_it_does_not_handle_ends(laboratory: Laboratory, guest: bool) -> None:
    assert laboratory.alone(ABORTS, guest=guest)[0].killed == "killed by signal 6 (SIGABRT)"


@pytest.mark.parametrize("slice_", [300, 10_000])
def test_a_run_ends_at_its_bound_to_the_instruction(laboratory: Laboratory, slice_: int) -> None:
    settings = Settings(2, slice_, instructions=50_001)
    result, host = laboratory.run(LINUX, settings, [ENDLESS, bundled("fpregs")], [bundled("mandelbrot")])
    assert result.ok
    assert result.instructions == 50_001 == sum(r.instructions for r in (*host.tasks, *host.vcpus))
    assert [p.running for p in result.programs] == [True] * 4


def test_a_program_that_should_have_ended_is_not_merely_running(laboratory: Laboratory) -> None:
    """Alone `TO_101` ends with code 3; here it is told that there is no process 101, and must end, too."""
    host = laboratory.host(LINUX, Settings(1, instructions=1000), [TO_101], [])
    host.run()
    host.tasks[0].code = None
    outcome = laboratory._result(host, 1.0, True).programs[0]
    assert not outcome.ok
    assert outcome.running


def test_a_run_of_seconds_ends(laboratory: Laboratory) -> None:
    result, _ = laboratory.run(LINUX, Settings(1, seconds=0.05), [ENDLESS], [])
    assert result.ok
    assert result.running == 1
    assert 0.05 <= result.seconds < 5


def test_an_endless_program_without_a_bound_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fpstate.machine.run.LIMIT", 100_000)
    with pytest.raises(
        FpstateError, match=r"has not ended after 100,000 instructions alone; expected .*--instructions N"
    ):
        Laboratory(1).run(LINUX, Settings(1), [ENDLESS], [])


def test_signals_under_a_policy_without_them_are_refused(laboratory: Laboratory) -> None:
    with pytest.raises(FpstateError, match="handles no signals"):
        laboratory.run(Rows(bugs()["B5"].faulty), Settings(1), [SIGNALLED], [])


def test_sve_is_there_when_a_task_uses_it_and_sme_never() -> None:
    sve, smstart = find_program("sve"), words(0xD503457F)
    result, _ = run_programs(find_policy("linux-6.14"), lambda _: ([sve, sve], [bundled("nbody")]), Settings(2, 500))
    assert result.ok
    assert result.vector_length == 32
    with pytest.raises(FpstateError, match="'sve' uses SVE, which policy 'eager' does not support"):
        run_programs(find_policy("eager"), lambda _: ([sve], []), Settings(1))
    with pytest.raises(
        FpstateError, match=r"'own' uses SME \(0xd503457f at 0x400000\), which this machine does not have"
    ):
        run_programs(find_policy("linux-6.14"), lambda _: ([smstart], []), Settings(1))
    chosen: list[frozenset[Program]] = []

    def choose(no_guests: frozenset[Program]) -> tuple[list[Program], list[Program]]:
        chosen.append(no_guests)
        return [], [p for p in (sve, bundled("nbody")) if p not in no_guests]

    result, _ = run_programs(find_policy("linux-6.14"), choose, Settings(1))
    assert chosen == [frozenset(), frozenset([sve])]
    assert result.vector_length == 0


def test_an_instruction_only_a_wrong_value_leads_to_is_a_finding(laboratory: Laboratory) -> None:
    """Where d8 is not what it was, the program goes on to an SVE instruction; alone it never does."""
    bug, settings = bugs()["M-notifier"], Settings(1, 300, 1, 0.5)
    tasks, guests = [GOES_ASTRAY] * 3, [GOES_ASTRAY] * 2
    wrong, right = (laboratory.run(Rows(p), settings, tasks, guests)[0] for p in (bug.faulty, bug.fixed))
    assert right.ok
    assert not wrong.ok
    assert any("uses SVE" in p.stopped for p in wrong.programs)


@pytest.fixture(scope="module")
def with_sve() -> Laboratory:
    return Laboratory(2, vector_length=32)


@pytest.mark.parametrize("name", sorted(bugs()))
def test_machine_and_world_agree_under_faulty_policies(laboratory: Laboratory, with_sve: Laboratory, name: str) -> None:
    """A policy at fault reads wrong values; it does not make the machine and the world differ."""
    policy = find_policy(name)
    tasks = [find_program("sve") if policy.features else bundled("nbody"), bundled("rounding")]
    guests = [bundled("nbody")] if handles_guests(policy) else []
    lab, settings = with_sve if policy.features else laboratory, Settings(2, 700, 1, 0.3)
    if policy.features - {"sve"}:
        with pytest.raises(FpstateError, match="the machine does not have"):
            lab.run(Rows(policy), settings, tasks, guests)
    else:
        lab.run(Rows(policy), settings, tasks, guests)


BUSYBOX = os.environ.get("FPSTATE_ARM64_BUSYBOX", "")


@pytest.mark.skipif(not Path(BUSYBOX).is_file(), reason="FPSTATE_ARM64_BUSYBOX names no arm64 busybox-static")
def test_a_program_none_of_us_wrote(laboratory: Laboratory) -> None:
    programs = [find_program(f"{BUSYBOX} {words}") for words in ("echo hello", "factor 1234567", "seq 3")]
    result, _ = laboratory.run(Rows(find_policy("linux-6.14")), Settings(2, 500, 1, 0.2), programs, [])
    assert [p.result for p in result.programs] == ["hello", "1234567: 127 9721", "1\n2\n3"]
    assert result.ok


# Paths of the checker.


def test_the_pattern_program_writes_what_python_says() -> None:
    path = follow_path(find_policy("eager"), Scope(1, 1, 0), "2/1/0/0")
    assert [r.ok for r in path.reads] == [True, True]
    low = int.from_bytes(pattern(1, 1)[:8], "little")
    assert low == 1 << 48 | 1 << 16
    assert path.reads[1].got == path.reads[1].expected


IN_HEX = (
    "A5",
    "A6",
    "A32",
    "M-defer",
    "M-flush",
    "M-mpx",
    "M-pm",
    "N2",
    "N5",
    "O3",
    "R3",
    "S6",
    "X4",
)


@pytest.mark.parametrize("name", IN_HEX)
def test_counterexamples_of_the_checker_corrupt_real_registers(name: str) -> None:
    bug = bugs()[name]
    scope = Scope(bug.cpus, bug.tasks, bug.vcpus, bug.kthreads, bug.events)
    found = check(bug.faulty, scope)
    assert found.path is not None
    followed = follow_path(bug.faulty, scope, found.path.code)
    assert followed.steps == found.path.steps
    assert followed.wrong == found.path.wrong
    assert followed.blame == found.path.blame
    last = followed.reads[-1]
    assert not last.ok
    assert last.step == len(found.path.steps)
    assert last.got != last.expected


def test_a_code_that_is_no_path_is_refused() -> None:
    with pytest.raises(FpstateError, match="the path's step 2 is '9'"):
        follow_path(find_policy("eager"), Scope(1, 1, 0), "0/9")
