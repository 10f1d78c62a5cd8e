"""Types out of an image, by a tiny one."""

from __future__ import annotations

import struct

import pytest

from fpstate.errors import FpstateError
from fpstate.kernel.btf import Btf

INT, ARRAY, STRUCT, ENUM, VAR, DATASEC = 1, 3, 4, 6, 14, 15


class Writer:
    """Writes a section .BTF; types are numbered from 1."""

    def __init__(self) -> None:
        self.types, self.strings, self.count = b"", b"\0", 0

    def add(self, kind: int, name: str, size: int, rest: bytes = b"", *, items: int = 0) -> int:
        self.types += struct.pack("<III", self.text(name), kind << 24 | items, size) + rest
        self.count += 1
        return self.count

    def text(self, name: str) -> int:
        at = len(self.strings) if name else 0
        self.strings += name.encode() + b"\0" if name else b""
        return at

    def member(self, name: str, number: int, byte: int) -> bytes:
        return struct.pack("<III", self.text(name), number, 8 * byte)

    def section(self) -> bytes:
        sizes = 0, len(self.types), len(self.types), len(self.strings)
        return b"\x9f\xeb\x01\x00" + struct.pack("<IIIII", 24, *sizes) + self.types + self.strings


@pytest.fixture
def image() -> bytes:
    """Return an image with rubbish that begins like BTF, and a section."""
    w = Writer()
    word = w.add(INT, "int", 4, struct.pack("<I", 32))
    long = w.add(INT, "long", 8, struct.pack("<I", 64))
    three = w.add(ARRAY, "", 0, struct.pack("<III", long, word, 3))
    state = w.add(ENUM, "", 4, struct.pack("<IIII", w.text("FREE"), 0, w.text("OWNED"), 2), items=2)
    inner = w.add(STRUCT, "", 12, w.member("cpu", word, 0) + w.member("state", state, 8), items=2)
    rest = w.member("flags", long, 0) + w.member("", inner, 8) + w.member("values", three, 24)
    task = w.add(STRUCT, "task", 48, rest, items=3)
    last = w.add(VAR, "last", task, struct.pack("<I", 0))
    w.add(DATASEC, ".data..percpu", 64, struct.pack("<III", last, 16, 48), items=1)
    return b"code\x9f\xeb\x01\x00 and not types, whatever it says" + w.section() + b"more"


def test_members_are_found_through_those_without_a_name(image: bytes) -> None:
    """Offsets in bytes; None or an error for what is not there."""
    btf = Btf(image, "it")
    assert (btf.size("task"), btf.member("task", "flags"), btf.member("task", "cpu")) == (48, 0, 8)
    assert btf.find("task", "nobody") is None
    with pytest.raises(FpstateError, match="struct task has no nobody"):
        btf.member("task", "nobody")
    with pytest.raises(FpstateError, match="no struct vcpu"):
        btf.size("vcpu")


def test_a_byte_is_named_by_the_smallest_member_that_holds_it(image: bytes) -> None:
    """Path, start, size; where nothing lies, a byte of its own."""
    btf = Btf(image, "it")
    task = btf.structure("task")
    assert btf.leaf(task, 7)[:3] == (".flags", 0, 8)
    assert btf.leaf(task, 17)[:3] == (".state", 16, 4)
    assert btf.leaf(task, 33)[:3] == (".values[1]", 32, 8)
    assert btf.leaf(task, 20)[:3] == ("", 20, 1)
    assert btf.enumerators(btf.leaf(task, 16)[3]) == {0: "FREE", 2: "OWNED"}
    assert btf.enumerators(btf.leaf(task, 0)[3]) == {}


def test_per_cpu_variables_have_their_place_in_the_section(image: bytes) -> None:
    """Name, offset, size and type."""
    btf = Btf(image, "it")
    assert btf.per_cpu == [("last", 16, 48, btf.structure("task"))]
    assert btf.variable("last") == (16, btf.structure("task"))
    assert btf.variable("first") is None


def test_an_image_without_types_says_what_to_build() -> None:
    """One sentence."""
    with pytest.raises(FpstateError, match=r"carries no types \(BTF\).*CONFIG_DEBUG_INFO_BTF=y"):
        Btf(b"ARM\x64" * 100, "Image")
