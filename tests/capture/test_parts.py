"""Scenarios, kernel images, the recipe and the archive: all that needs no emulator."""

from __future__ import annotations

import gzip
import re
import struct
from hashlib import sha256
from pathlib import Path

import pytest

from fpstate.errors import FpstateError
from fpstate.lab import apt
from fpstate.lab.capture import checked, write_trace
from fpstate.lab.capture import lost_events as lost
from fpstate.lab.initramfs import initramfs
from fpstate.lab.kernel import (
    Kernel,
    Moved,
    Symbols,
    calls,
    decisions,
    depends,
    moves,
    opened,
    read_kernel,
    recipe_for,
    with_dependencies,
)
from fpstate.lab.payload import FOLDER, payload
from fpstate.lab.qemu import Machine, Message, Run, mode_of
from fpstate.lab.recipe import EVENTS, FUNCTIONS, NEWER, commands
from fpstate.lab.scenario import find_scenario, read_scenario, scenario_names

REQUIRED = {
    *("hvc-fp", "mmio-fp", "mmio-int", "contended", "kneon", "hotplug", "sve"),
    *("smp4-mixed", "signals", "ptrace", "guest-32bit", "idle-wfi", "overcommit"),
}


def test_every_bundled_scenario_reads() -> None:
    """All scenarios make sense and say what they are."""
    assert set(scenario_names()) >= REQUIRED
    for name in scenario_names():
        scenario = find_scenario(name)
        assert scenario.name == name
        assert scenario.title
        assert scenario.actors


def test_actors_are_pinned_modulo_the_cpus_there_are(tmp_path: Path) -> None:
    """The same scenario runs on one CPU and on four."""
    path = tmp_path / "s.toml"
    path.write_text(
        '[[actor]]\nrole = "fp"\nturns = 3\non = [1, 2]\ntimes = 2\n[[actor]]\nrole = "int"\nbackground = true\n'
    )
    actors = read_scenario(path).actors
    assert [a.line(1) for a in actors] == ["start 1 fp turns=3", "start 1 fp turns=3", "keep 1 int"]
    assert [a.line(4) for a in actors] == ["start 6 fp turns=3", "start 6 fp turns=3", "keep 15 int"]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "nobody runs"),
        ("[[actor]", "cannot read the scenario"),
        ("\0\xff", "cannot read the scenario"),
        ('[[actor]]\nrole = "vm"', "unknown role 'vm'.*did you mean 'vmm'"),
        ('[[actor]]\nrole = "fp"\nturn = 1', "unknown setting 'turn'.*did you mean 'turns'"),
        ('[[actor]]\nrole = "fp"', "'fp' runs for ever"),
        ('[[actor]]\nrole = "fp"\nturns = -1', "turns is -1"),
        ('[[actor]]\nrole = "fp"\nturns = "x"', "turns is 'x'; expected a whole number"),
        ('[[actor]]\nrole = "fp"\nturns = 1\non = [64]', "on is"),
        ('[[actor]]\nrole = "fp"\nturns = 1\ntimes = 99', "times is 99"),
        ('[[actor]]\nrole = "fp"\nbackground = 1', "background is 1"),
        ("actor = [3]", "an actor is 3"),
        ('second = 3\n[[actor]]\nrole = "storm"', "unknown key 'second'.*did you mean 'seconds'"),
        ('seconds = 0\n[[actor]]\nrole = "storm"', "0 seconds"),
        ('cpus = 1\nleast_cpus = 2\n[[actor]]\nrole = "storm"', "1 CPUs; expected 2 to 8"),
    ],
)
def test_each_mistake_in_a_scenario_is_named(tmp_path: Path, text: str, match: str) -> None:
    """A scenario of the user's own gets one clear error."""
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(FpstateError, match=match):
        read_scenario(path)


BASE = 0xFFFF800008000000
RET, NOP = 0xD65F03C0, 0xD503201F


def bl(at: int, to: int) -> int:
    return 0x94000000 | (to - at) & 0x3FFFFFF


def tbz(at: int, to: int) -> int:
    return 0x36000000 | ((to - at) & 0x3FFF) << 5


def cbnz(at: int, to: int) -> int:
    return 0x35000000 | ((to - at) & 0x7FFFF) << 5


def b_eq(at: int, to: int) -> int:
    return 0x54000000 | ((to - at) & 0x7FFFF) << 5


WORDS = {
    16: tbz(16, 30),  # leads into the line of code that calls
    17: cbnz(17, 20),
    18: b_eq(18, 31),  # the call itself
    19: NOP,
    20: bl(20, 60),  # backwards and forwards
    29: tbz(29, 16),  # just before the line: falls into it
    30: 0xD51B4220,  # MSR: a system instruction, no branch
    31: bl(31, 8),
    32: RET,
}
IMAGE = struct.pack("<64I", *(WORDS.get(i, NOP) for i in range(64)))
SYMBOLS = Symbols(
    "\n".join(
        f"{BASE + 4 * at:x} t {name}"
        for name, at in {"_stext": 0, "low": 8, "caller": 16, "after": 40, "high": 60}.items()
    )
    + f"\n{BASE + 4 * 50:x} t high\t[module]"
)
KERNEL = Kernel(IMAGE, "6.1.0-test", "test", None)


def test_calls_are_found_by_decoding_the_image() -> None:
    """Branches forwards and backwards, as offsets in the caller; a module's symbol of the same name does not count."""
    assert calls(KERNEL, SYMBOLS, "caller", "high") == [4 * (20 - 16)]
    assert calls(KERNEL, SYMBOLS, "caller", "low") == [4 * (31 - 16)]
    assert calls(KERNEL, SYMBOLS, "caller", "nobody") == []


def test_stores_are_found_where_they_stand() -> None:
    """The first registers of a file, from any base; not the second pair, and no load for a store."""
    words = list(struct.unpack("<64I", IMAGE))
    words[17:23] = 0xAD000400, 0xAD010C02, 0xAD400420, 0xE5804000, 0xE59F5FE0, 0x85804000
    kernel = Kernel(struct.pack("<64I", *words), "7.3.0-test", "test", None)
    found = {moved: moves(kernel, SYMBOLS, "caller", moved) for moved in Moved}
    assert found == {Moved.SAVE_V: [4], Moved.LOAD_V: [12], Moved.SAVE_Z: [16, 20], Moved.LOAD_Z: [24]}
    assert moves(kernel, SYMBOLS, "nobody", Moved.SAVE_V) == []


def test_newer_functions_are_no_lack() -> None:
    """What came later is recorded where it is, and missing nowhere."""
    without = set(FUNCTIONS) - set(NEWER)
    older, newer = (recipe_for(KERNEL, SYMBOLS, functions, set()) for functions in (without, set(FUNCTIONS)))
    assert older.missing == newer.missing
    assert set(newer.functions) - set(older.functions) == set(NEWER)


def test_branches_that_decide_about_a_call() -> None:
    """TBZ into the code before the call, B.EQ to the call, TBZ that falls into it; not the branch elsewhere."""
    assert decisions(KERNEL, SYMBOLS, "caller", "low") == [BASE + 4 * i for i in (16, 18, 29)]


def test_where_interrupts_are_let_in_before_a_branch() -> None:
    """MSR DAIFClr in the straight line before it; not over a branch, nor where a branch leads in between."""
    words = list(struct.unpack("<64I", IMAGE))
    words[21], words[35] = 0xD50343FF, 0xD51B423F
    words[26] = tbz(26, 34)
    kernel = Kernel(struct.pack("<64I", *words), "7.3.0-test", "test", None)
    for branch, first in ((24, 21), (29, 29), (37, 35), (20, 20)):
        assert opened(kernel, SYMBOLS, "caller", BASE + 4 * branch) == BASE + 4 * first
    words[26] = tbz(26, 36)
    kernel = Kernel(struct.pack("<64I", *words), "7.3.0-test", "test", None)
    assert opened(kernel, SYMBOLS, "caller", BASE + 4 * 37) == BASE + 4 * 37


def test_what_a_kernel_lacks_is_said() -> None:
    """Probes whose place is not certain, functions and events that are not there: the rest is recorded."""
    events = {name.replace("/", ":") for name in EVENTS} - {"signal:signal_deliver"}
    recipe = recipe_for(KERNEL, SYMBOLS, set(FUNCTIONS) - {"do_sve_acc"}, events)
    assert recipe.missing == ("signal/signal_deliver", "do_sve_acc", "hw_save", "hw_sve_save")
    assert not any("signal_deliver" in line or "do_sve_acc" in line for line in recipe.plan())
    assert any(line.endswith("set_ftrace_filter kernel_neon_begin") for line in recipe.plan())


def header(image: bytes) -> bytes:
    return bytes(56) + b"ARM\x64" + bytes(4) + b"Linux version 6.1.0-test (me) #1\n\0" + image


def test_kernels_are_unpacked(tmp_path: Path) -> None:
    """A plain Image, one compressed with gzip, and an EFI zboot image are the same kernel."""
    plain = header(b"x" * 100)
    packed = gzip.compress(plain, mtime=0)
    zboot = b"MZ\0\0zimg" + struct.pack("<II", 64, len(packed)) + bytes(8) + b"gzip\0" + bytes(35) + packed
    digests = set()
    for i, data in enumerate((plain, packed, zboot)):
        path = tmp_path / f"Image{i}"
        path.write_bytes(data)
        kernel = read_kernel(path)
        assert kernel.version == "6.1.0-test"
        digests.add(kernel.digest)
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("built", "preemptible", "preempt_rt"),
    [("SMP", False, False), ("SMP PREEMPT_DYNAMIC", True, False), ("SMP PREEMPT_RT", True, True)],
)
def test_the_banner_says_whether_a_kernel_can_be_preempted(built: str, preemptible: bool, preempt_rt: bool) -> None:
    """In the kernel, and whether its softirqs are threads'."""
    kernel = Kernel(b"x\0Linux version 6.12.118 (me) #1 %b Debian\n\0PREEMPT_RT" % built.encode(), "", "test", None)
    assert (kernel.preemptible, kernel.preempt_rt) == (preemptible, preempt_rt)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x7fELF" + bytes(100),
        gzip.compress(header(b""), mtime=0)[:-9],
        b"MZ\0\0zimg" + bytes(4),
        header(b"")[:70],
    ],
)
def test_other_files_are_no_kernels(tmp_path: Path, data: bytes) -> None:
    """Empty, of another kind, cut short."""
    path = tmp_path / "Image"
    path.write_bytes(data)
    with pytest.raises(FpstateError, match="arm64"):
        read_kernel(path)


def test_the_config_beside_a_kernel_must_have_what_is_needed(tmp_path: Path) -> None:
    """What is not built in is named before anything boots."""
    (tmp_path / "vmlinuz").write_bytes(header(b""))
    (tmp_path / "config-6.1.0-test").write_text("CONFIG_KVM=y\nCONFIG_FUNCTION_TRACER=y\nCONFIG_KALLSYMS=m\n")
    with pytest.raises(FpstateError, match=r"without CONFIG_DYNAMIC_FTRACE.*CONFIG_KALLSYMS"):
        read_kernel(tmp_path / "vmlinuz")


def test_modules_name_what_they_need() -> None:
    """As modinfo prints it, with the dashes of file names."""
    assert depends(b"\0license=GPL\0depends=af_alg,sha2_generic\0x") == ["af-alg", "sha2-generic"]
    assert depends(b"\0depends=\0") == depends(b"") == []


def test_the_archive_is_cpio() -> None:
    """Entries of the newc form, aligned, each with its content, ended by the trailer."""
    archive = initramfs(b"program", "wait 1\n", {"a.ko": b"module"})
    found, at = {}, 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        name = archive[at + 110 : at + 110 + fields[11] - 1].decode()
        start = (at + 110 + fields[11] + 3) // 4 * 4
        if name == "TRAILER!!!":
            break
        found[name] = fields[1], archive[start : start + fields[6]]
        at = (start + fields[6] + 3) // 4 * 4
    assert found["init"] == found["payload"] == (0o100755, b"program")
    assert found["plan"] == (0o100644, b"wait 1\n")
    assert found["modules/a.ko"][1] == b"module"
    assert found["proc"][0] == 0o40755


def test_commands_for_real_hardware_record_the_same() -> None:
    """trace-cmd and perf get every event, function and probe."""
    text = "\n".join(commands(None, 5))
    trace_cmd, _, perf = text.partition("perf record")
    for event in EVENTS:
        assert f"-e {event.replace('/', ':')}" in trace_cmd
        assert f"-e {event.replace('/', ':')}" in perf
    for function in FUNCTIONS:
        assert f"-l {function}" in trace_cmd
        assert re.search(rf"\b{function}\b", trace_cmd[trace_cmd.index("for f in") :])
    assert "p:hw_save fpsimd_save+$(($(call fpsimd_save fpsimd_save_state)" in text
    assert "sleep 5" in text


@pytest.mark.parametrize(
    ("said", "mode"),
    [
        ("kvm [1]: VHE mode initialized successfully", "vhe"),
        ("kvm [1]: Hyp mode initialized successfully", "nvhe"),
        ("kvm [1]: Hyp nVHE mode initialized successfully", "nvhe"),
        ("kvm [1]: hVHE mode initialized successfully", "hvhe"),
        ("kvm [1]: HYP mode not available", ""),
    ],
)
def test_the_mode_is_what_kvm_says(said: str, mode: str) -> None:
    """In the words of kernels from 5.10 to 6.12."""
    assert mode_of(f"6,1,2,-;{said}\n") == mode


def test_the_programs_are_built_from_the_sources_beside_them() -> None:
    """`make payload` notes what it built from; a changed source without a new build is found here."""
    sources = sorted([*FOLDER.glob("*.c"), *FOLDER.glob("*.h")])
    lines = [f"{sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in sources]
    assert (FOLDER / "sources.sha256").read_text().splitlines() == lines


def test_the_payload_is_a_static_arm64_program() -> None:
    """ELF for AArch64 (183) without an interpreter, and small."""
    program = payload()
    assert program[:5] == b"\x7fELF\x02"
    assert struct.unpack_from("<H", program, 18) == (183,)
    offset, size, count = struct.unpack_from("<Q", program, 32)[0], *struct.unpack_from("<HH", program, 54)
    kinds = {struct.unpack_from("<I", program, offset + i * size)[0] for i in range(count)}
    assert 3 not in kinds
    assert len(program) < 100_000


def test_lost_events_are_an_error_unless_asked_for(tmp_path: Path) -> None:
    """Overrun, commit overrun and dropped events of any CPU count; what was read does not."""
    (tmp_path / "stats0").write_text("entries: 10\noverrun: 0\ncommit overrun: 0\ndropped events: 0\nread events: 9\n")
    (tmp_path / "stats1").write_text("entries: 10\noverrun: 3\ncommit overrun: 0\ndropped events: 4\nread events: 9\n")
    done = Run(tmp_path, [])
    assert lost(done, 1, False) == 0
    assert lost(done, 2, True) == 7
    with pytest.raises(FpstateError, match=r"lost 7 events.*--allow-lost"):
        lost(done, 2, False)


@pytest.mark.parametrize(
    ("messages", "match"),
    [
        ([Message("FP registers changed under a guest", "vmm", 7)], "FP registers changed under a guest: vmm"),
        ([Message("actor failed", "vmm", -4)], r"actor failed: vmm \(signal 4\)"),
        ([Message("not written", "/x 1", -2)], r"not written: /x 1 \(No such file or directory\)"),
        ([], "asked for nvhe, but KVM chose vhe"),
    ],
)
def test_what_went_wrong_in_the_machine_is_an_error(tmp_path: Path, messages: list[Message], match: str) -> None:
    """A failed check of registers, a dead actor, a setting refused, another mode."""
    (tmp_path / "kmsg").write_text("6,1,2,-;kvm [1]: VHE mode initialized successfully\n")
    done = Run(tmp_path, [Message("started", "init", 1), *messages, Message("finished", "init", 1)])
    with pytest.raises(FpstateError, match=match):
        checked(done, KERNEL, Machine("neoverse-n1", 2, "nvhe"))


def test_a_trace_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    """Compressed by its name, the same bytes each time; a folder that cannot be written to is one error."""
    write_trace("text\n", tmp_path / "a.gz")
    write_trace("text\n", tmp_path / "b.txt")
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == (tmp_path / "b.txt").read_bytes() == b"text\n"
    with pytest.raises(FpstateError, match="cannot write"):
        write_trace("text\n", tmp_path / "none" / "c.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gz", "b.txt"]


def test_modules_come_with_what_they_depend_on_before_them(tmp_path: Path) -> None:
    """A module's own list says what it needs; names may be written with either dash."""
    for name, needs in {"a_b": "", "c": "a_b", "d": "c,a_b"}.items():
        content = b"\x7fELF\0depends=" + needs.encode() + b"\0"
        (tmp_path / f"{name}.ko.gz").write_bytes(gzip.compress(content))
    kernel = Kernel(b"", "6.1", "", tmp_path)
    assert list(with_dependencies(kernel, ("d", "built-in"))) == ["a-b.ko", "c.ko", "d.ko"]
    assert with_dependencies(Kernel(b"", "6.1", "", None), ("d",)) == {}


def test_a_suite_that_has_gone_on_to_another_kernel_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And nothing is fetched."""

    class Gone(apt._Apt):
        def run(self, program: str, *words: str) -> str:
            assert "download" not in (program, *words)
            return "linux-image-arm64\n  Depends: linux-image-7.9.1+deb14-arm64\n" if "depends" in words else ""

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(apt, "_Apt", Gone)
    message = (
        r"Debian's sid has linux-image-7\.9\.1\+deb14-arm64 now; expected a kernel 7\.2; or give a kernel of your own"
    )
    with pytest.raises(FpstateError, match=message):
        apt.fetch_kernel(lambda _: None, "debian-7.2")
