"""The emulated machine: its programs, its FP trap, its memory, and the errors of wrong programs."""

from __future__ import annotations

import random
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("unicorn")
pytest.importorskip("elftools")

from fpstate import emulator
from fpstate.errors import FpstateError
from fpstate.machine import engine as engine_module
from fpstate.machine.elf import Program, Segment, bundled, bundled_names, find_program, read_program
from fpstate.machine.engine import GENERAL, PC, V_BYTES, Engine, Registers, Stop
from fpstate.machine.host import Machine
from fpstate.machine.log import Entry, Log
from fpstate.machine.memory import Space
from fpstate.machine.run import Laboratory
from fpstate.machine.twin import Wrong
from fpstate.machine.words import is_fp, is_read, is_read_word, is_sme, is_sve
from tests.known_answers import ANSWERS, fnv

FOLDER = Path(engine_module.__file__).parent / "programs"


@pytest.fixture(scope="module")
def laboratory() -> Laboratory:
    return Laboratory(1)


@pytest.mark.parametrize("name", sorted(ANSWERS))
@pytest.mark.parametrize("guest", [False, True])
def test_programs_compute_what_is_known(laboratory: Laboratory, name: str, guest: bool) -> None:
    alone = laboratory.alone(bundled(name), guest=guest)[0]
    assert alone.output.decode() == f"{name} {ANSWERS[name]()}\n"
    assert alone.code == 0


def test_every_program_has_a_known_answer() -> None:
    assert set(bundled_names()) == {*ANSWERS, "fpregs"}


def program(*words: int) -> Program:
    """Return a program of these words at 0x400000."""
    code = b"".join(w.to_bytes(4, "little") for w in words)
    return Program("words", (Segment(0x400000, code, len(code), False, True),), 0x400000, 0, 0, {})


MOV_1, MOV_2, FMOV, FADD, SVC = 0xD2800020, 0xD2800040, 0x1E6E1000, 0x1E602801, 0xD4000001
B_NEXT = 0x14000001
times, contexts = st.integers(0, 2**62), st.integers(0, 600)


@pytest.mark.parametrize("privileged", [False, True])
@pytest.mark.parametrize("fp_on", [False, True])
def test_the_first_use_of_fp_traps_and_is_resumed(privileged: bool, fp_on: bool) -> None:
    machine = Machine(1)
    engine, space = machine.engines[0], Space(machine.ram)
    code = program(MOV_1, FMOV, FADD, MOV_2, SVC)
    space.load(code, machine.text(code))
    at: list[int] = []

    def first_use() -> bool:
        at.append(engine.pc())
        return True

    engine.on_fp = first_use
    for _ in range(3):
        at.clear()
        engine.set_fp_registers(bytes(V_BYTES))
        engine.enter(space, privileged=privileged, fp_on=fp_on)
        engine.set_pc(code.entry)
        assert engine.run(1000) == 5
        assert engine.stop is Stop.SVC
        assert engine.x(0) == 2
        assert engine.fp()[16:24] == struct.pack("<d", 2.0)
        assert at == ([] if fp_on else [0x400004])


def test_a_trap_that_is_not_served_stops_at_the_instruction() -> None:
    machine = Machine(1)
    engine, space = machine.engines[0], Space(machine.ram)
    code = program(MOV_1, FMOV, MOV_2, SVC)
    space.load(code, machine.text(code))
    engine.on_fp = lambda: False
    engine.enter(space, privileged=False, fp_on=False)
    engine.set_pc(code.entry)
    assert engine.run(1000) == 1
    assert engine.stop is Stop.TRAPPED
    assert engine.pc() == 0x400004


def test_a_constant_beside_code_does_not_uncover_fp_instructions() -> None:
    """A page of code that has been read as data is still fetched with its FP instructions undefined."""
    machine = Machine(1)
    engine, space = machine.engines[0], Space(machine.ram)
    code = program(0x58000081, B_NEXT, FMOV, SVC, 1, 2)  # ldr x1, the constant behind SVC
    space.load(code, machine.text(code))
    at: list[int] = []

    def first_use() -> bool:
        at.append(engine.pc())
        return True

    engine.on_fp = first_use
    for fp_on in (False, True, False):
        at.clear()
        engine.enter(space, privileged=False, fp_on=fp_on)
        engine.set_pc(code.entry)
        assert engine.run(1000) == 4
        assert engine.x(1) == 2 << 32 | 1
        assert at == ([] if fp_on else [0x400008])


def test_words_of_sve_and_sme_are_told_apart() -> None:
    sve = [0x04BF5020, 0x04215020, 0x85804000, 0x04615020, 0x2518E3E0]  # rdvl, addvl, ldr z0, addpl, ptrue
    sme = [0xD503457F, 0xD503437F, 0xD503467F, 0x04BF5820, 0x80812000, 0xD53B4240, 0x04215820, 0x04615820, 0xE10000A0]
    neither = [MOV_1, SVC, FMOV, 0xD50342DF, 0xD53B4200, 0xD503201F, 0xD5033FDF]  # msr daifset, mrs nzcv, nop, isb
    assert [is_sve(w) for w in sve] == [True] * len(sve)
    assert [is_sme(w) for w in sme] == [True] * len(sme)
    assert not any(is_sme(w) for w in sve)
    assert not any(is_sve(w) for w in sme)
    assert not any(is_sve(w) or is_sme(w) for w in neither)
    reads = [
        0xD53BE04B,
        0xD53BE00B,
        0xD5380416,
        0xD5380617,
    ]  # CNTVCT_EL0, CNTFRQ_EL0, ID_AA64PFR0_EL1, ID_AA64ISAR0_EL1
    for words, expected in ((reads, True), ([*sve, *sme, *neither, 0xD5380016, 0xD53BE02B], False)):
        assert [is_read_word(w) for w in words] == [expected] * len(words)
        assert is_read(np.array(words, np.uint32)).tolist() == [expected] * len(words)


@given(st.lists(st.tuples(times, st.integers(0, 15), st.integers(1, 80), contexts, st.integers(-1, 600)), min_size=1))
def test_a_log_holds_what_it_was_given(entries: list[Entry]) -> None:
    log = Log()
    for entry in entries:
        log.append(entry)
    assert list(log) == entries
    assert [tuple(row) for row in zip(*(c.tolist() for c in log.columns()), strict=True)] == entries
    assert log.pop() == entries[-1]
    assert list(log) == entries[:-1]


def test_fp_words_are_told_from_others() -> None:
    fp = [FMOV, FADD, 0x3DC00022, 0xAD000400, 0x4CDF7000, 0x5C0000A2, 0xD51B4400, 0xD53B4421, 0x4E61CC06]
    others = [MOV_1, SVC, 0xF9400022, 0xA9007BFD, 0xD53BD040, 0xD503207F, 0xD4000002, 0x8B010042]
    assert is_fp(np.array(fp, np.uint32)).all()
    assert not is_fp(np.array(others, np.uint32)).any()


def test_general_registers_follow_a_context_from_cpu_to_cpu() -> None:
    machine = Machine(2)
    a, b = Registers(0), Registers(0)
    a.values[:] = [*range(GENERAL - 3), 0x400000, 0x60000000, 7]
    wanted = list(a.values)
    machine.engines[0].bring(a)
    machine.engines[0].bring(b)
    machine.engines[0].bring(a)
    machine.engines[1].bring(a)
    machine.engines[1].put_away()
    assert list(a.values) == wanted
    assert machine.engines[0].resident is None


def test_instructions_are_counted_the_same_in_any_slices() -> None:
    machine = Machine(1)
    engine = machine.engines[0]
    engine.on_fp = lambda: True
    totals = set()
    for slice_ in (500, 1999, 10_000_000):
        machine.reset()
        code, space, registers = bundled("mandelbrot"), Space(machine.ram), Registers(0)
        space.load(code, machine.text(code))
        space.map(0x7EFF0000, 0x10000)
        registers.values[PC], registers.values[31] = code.entry, 0x7EFFFF00
        total = 0
        while True:
            engine.enter(space, privileged=False, fp_on=False)
            engine.bring(registers)
            total += engine.run(slice_)
            if engine.stop is Stop.SVC and engine.x(8) == 93:
                break
            if engine.stop is Stop.SVC:
                engine.set_x(0, 0)
        engine.put_away()
        totals.add(total)
    assert len(totals) == 1


# Wrong programs.

GOOD = (FOLDER / "matrix.elf").read_bytes()


def patched(*changes: tuple[int, bytes]) -> bytes:
    data = bytearray(GOOD)
    for at, new in changes:
        data[at : at + len(new)] = new
    return bytes(data)


PHDR = 64  # the first program header; each has 56 bytes
WRONG = {
    "empty": (b"", "is not an ELF file"),
    "text": (b"#!/bin/sh\necho hello\n", "is not an ELF file"),
    "x86": (patched((18, b"\x3e\0")), "is a program for x86_64"),
    "32-bit": (patched((4, b"\x01")), "32-bit"),
    "big-endian": (patched((5, b"\x02")), "big-endian"),
    "object": (patched((16, b"\x01\0")), "is not linked"),
    "core": (patched((16, b"\x04\0")), "is not a program"),
    "dynamic": (patched((PHDR + 4 * 56, b"\x03\0\0\0")), "dynamically linked"),
    "truncated": (GOOD[:0x2040], "cut short"),
    "header only": (GOOD[:64], "damaged"),
    "half a header": (GOOD[:40], "damaged"),
    "entry outside": (patched((24, struct.pack("<Q", 0x500000))), "entry at 0x500000, outside its code"),
    "entry in data": (patched((24, struct.pack("<Q", 0x402000))), "outside its code"),
    "entry unaligned": (patched((24, struct.pack("<Q", 0x401002))), "not aligned"),
    "writable code": (patched((PHDR + 56 + 4, b"\x07\0\0\0")), "can be written"),
    "lies low": (patched((PHDR + 16, struct.pack("<Q", 0x1000))), "lies at 0x1000"),
    "more in file": (patched((PHDR + 32, struct.pack("<QQ", 0x190, 0x100))), "larger in the file"),
    "nothing to load": (patched(*((PHDR + 56 * i, b"\0\0\0\0") for i in range(6))), "nothing to load"),
}


@pytest.mark.parametrize("name", sorted(WRONG))
def test_wrong_programs_get_one_clear_error(name: str, tmp_path: Path) -> None:
    data, said = WRONG[name]
    path = tmp_path / "wrong.elf"
    path.write_bytes(data)
    with pytest.raises(FpstateError) as caught:
        read_program(path, "wrong")
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_any_damage_to_an_elf_file_gives_an_error_or_a_program(tmp_path: Path) -> None:
    """Flip bytes of the headers: no other exception ever leaves."""
    path = tmp_path / "damaged.elf"
    for at in range(64 + 6 * 56):
        for value in (0x00, 0x7F, 0xFF):
            path.write_bytes(patched((at, bytes([value]))))
            try:
                read_program(path, "damaged")
            except FpstateError:
                continue


def test_an_unknown_program_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(FpstateError, match="did you mean 'mandelbrot'"):
        find_program("mandelbrod")


def test_without_unicorn_one_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "unicorn", None)
    said = r"unicorn and pyelftools, which are not installed.*make demo, or pip install -e '\.\[run\]'"
    for needs in (lambda: Machine(1), emulator.unicorn):
        with pytest.raises(FpstateError, match=said):
            needs()


# SVE.


def sve_answer() -> str:
    """Return what sve.c prints: sums of products, and lengths of strings."""
    a, b = [i * 7 % 31 for i in range(203)], [i * i % 17 for i in range(203)]
    words: list[int] = []
    for r in range(1, 13):
        words += [sum(x * y for x, y in zip(a[: 17 * r - 1], b, strict=False)), 25 * r - 3]
    return fnv(words)


@pytest.mark.parametrize("vector_length", [16, 32, 48, 64, 128, 256])
def test_sve_registers_are_carried_at_every_vector_length(vector_length: int) -> None:
    """Two contexts take turns every 100 instructions; each start of a turn traps, and Z, P and FFR go with them."""
    machine = Machine(1)
    engine = Engine(0, machine.ram, vector_length)
    sve = engine.sve
    assert sve is not None
    image = random.Random(vector_length).randbytes(sve.size)
    sve.write(image)
    assert sve.read() == image
    assert engine.fp()[:16] == image[:16]
    code = bundled("sve")
    traps: list[int] = []

    def first_use() -> bool:
        traps.append(engine.pc())
        return True

    engine.on_sve = first_use
    contexts = []
    for _ in range(2):
        space, registers = Space(machine.ram), Registers(0)
        space.load(code, machine.text(code))
        space.map(0x7EFF0000, 0x10000)
        registers.values[PC], registers.values[31] = code.entry, 0x7EFFFF00
        contexts.append((space, registers, [bytes(sve.size)], bytearray()))
    waiting = list(contexts)
    while waiting:
        space, registers, image_of, output = waiting.pop(0)
        engine.enter(space, privileged=False, fp_on=True)
        engine.bring(registers)
        sve.write(image_of[0])
        engine.set_sve(False)
        engine.run(100)
        image_of[0] = sve.read()
        ended = engine.stop is Stop.SVC and engine.x(8) == 93
        if engine.stop is Stop.SVC and engine.x(8) == 64:
            output += space.read(engine.x(1), engine.x(2)) or b""
        if engine.stop is Stop.SVC:
            engine.set_x(0, 0)
        if not ended:
            waiting.append((space, registers, image_of, output))
    assert [c[3].decode() for c in contexts] == [f"sve {sve_answer()}\n"] * 2
    assert len(traps) > 10


@pytest.mark.parametrize(
    ("at", "name", "size"), [(31 * 32 + 16, "z31", 32), (32 * 32, "p0", 4), (32 * 32 + 63, "p15", 4)]
)
def test_the_first_register_that_differs_is_named(at: int, name: str, size: int) -> None:
    """Beyond V: Z of 32 bytes, then P and FFR of 4, at a vector length of 32 bytes."""
    right = bytes(32 * 32 + 17 * 4)
    wrong = bytes(1 if i == at else 0 for i in range(len(right)))
    found = Wrong(0, 0, bytes(520), bytes(520), 0, (right, wrong)).register()
    first = 32 * 31 if name == "z31" else at - at % 4
    assert found == (name, 0, int.from_bytes(wrong[first : first + size], "little"))
