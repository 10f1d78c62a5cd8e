"""Types of a kernel from the BTF in its image (Documentation/bpf/btf.rst): members of structures, per-CPU variables.

BTF comes without the names of sections' addresses: a per-CPU variable has its place in the section of all of them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from fpstate.errors import FpstateError

MAGIC: Final = b"\x9f\xeb\x01\x00"  # little-endian magic, version 1, no flags
INT, PTR, ARRAY, STRUCT, UNION, ENUM, VAR, DATASEC, ENUM64 = 1, 2, 3, 4, 5, 6, 14, 15, 19
PASSED_THROUGH: Final = (8, 9, 10, 11, 18)  # typedef, volatile, const, restrict, type tag: another name for a type
_ONCE: Final = {INT: "I", ARRAY: "III", VAR: "I", 17: "I"}  # what follows a type, by kind; 17: declaration tag
_EACH: Final = {STRUCT: "III", UNION: "III", ENUM: "II", 13: "II", DATASEC: "III", ENUM64: "III"}  # 13: prototype


@dataclass(frozen=True)
class Type:
    """One type: `size` is bytes, or the number of the type it refers to; `items` are members, or what else follows."""

    kind: int
    name: str
    size: int
    bitfields: bool  # offsets of members hold sizes of bit fields too
    items: list[tuple[int, ...]]


class Btf:
    """All types of an image. Raise FpstateError if it holds none."""

    def __init__(self, image: bytes, where: str) -> None:
        at, found = -1, None
        while found is None:
            at = image.find(MAGIC, at + 1)
            if at < 0:
                given, hint = "the kernel carries no types (BTF)", "build it with CONFIG_DEBUG_INFO_BTF=y"
                raise FpstateError(given, expected="an image with a section .BTF", where=where, hint=hint)
            found = _sections(image, at)
        types, self._strings = found
        self._offsets: dict[tuple[str, str], int | None] = {}  # by structure and path, as they were asked for
        try:
            self.types: list[Type | None] = [None, *self._read(types)]
        except (ValueError, struct.error):
            given = "the kernel's types (BTF) are damaged"
            raise FpstateError(given, expected="an image as it was built", where=where) from None

    def _read(self, data: bytes) -> list[Type]:
        types, i = [], 0
        while i + 12 <= len(data):
            name, info, size = struct.unpack_from("<III", data, i)
            kind, count = info >> 24 & 31, info & 0xFFFF
            form, count = (_EACH[kind], count) if kind in _EACH else (_ONCE.get(kind, ""), 1)
            step = struct.calcsize("<" + form)
            items = list(struct.iter_unpack("<" + form, data[i + 12 : i + 12 + step * count])) if form else []
            types.append(Type(kind, self._text(name), size, bool(info >> 31), items))
            i += 12 + step * count
        return types

    def _text(self, at: int) -> str:
        return self._strings[at : self._strings.index(b"\0", at)].decode("ascii", "replace")

    @cached_property
    def _structures(self) -> dict[str, int]:
        return {t.name: i for i, t in enumerate(self.types) if t and t.kind == STRUCT and t.items}

    @cached_property
    def per_cpu(self) -> list[tuple[str, int, int, int]]:
        """Per-CPU variables: name, offset in their section, size in bytes, number of the type."""
        sections = [t for t in self.types if t and t.kind == DATASEC and "percpu" in t.name]
        found = [(self._at(var), offset, size) for section in sections for var, offset, size in section.items]
        return sorted((var.name, offset, size, var.size) for var, offset, size in found)

    def has(self, name: str) -> bool:
        """Tell whether there is a structure of this name."""
        return name in self._structures

    def size(self, name: str) -> int:
        """Return the size of a structure in bytes. Raise FpstateError if there is none."""
        return self._at(self._structure(name)).size

    def member(self, name: str, path: str) -> int:
        """Return the offset in bytes of a member (`thread.fpsimd_cpu`) of a structure. Raise FpstateError."""
        found = self.find(name, path)
        if found is None:
            raise FpstateError(f"the kernel's struct {name} has no {path}", expected="arm64 Linux 5.10 or newer")
        return found

    def find(self, name: str, path: str) -> int | None:
        """Return the same, or None if there is no such member."""
        if (name, path) not in self._offsets:
            self._offsets[name, path] = self._find(name, path)
        return self._offsets[name, path]

    def _find(self, name: str, path: str) -> int | None:
        number, offset = self._structure(name), 0
        for part in path.split("."):
            found = self._member(number, part)
            if found is None:
                return None
            number, offset = found[0], offset + found[1]
        return offset

    def variable(self, name: str) -> tuple[int, int] | None:
        """Return the offset in the per-CPU section and the type's number of a per-CPU variable, or None."""
        return next(((offset, kind) for n, offset, _, kind in self.per_cpu if n == name), None)

    def leaf(self, number: int, offset: int) -> tuple[str, int, int, int]:
        """Return path, offset, size and type's number of the member without members of its own that holds a byte.

        The path begins with a dot or an index; where no member lies, it is empty, and the size 1.
        """
        number = self._plain(number)
        kind = self._at(number)
        if kind.kind == ARRAY:
            element, _, count = kind.items[0]
            size = self._sizeof(element)
            if size and offset < size * count:
                at = offset // size * size
                path, start, length, leaf = self.leaf(element, offset - at)
                return f"[{offset // size}]{path}", at + start, length, leaf
        if kind.kind in (STRUCT, UNION):
            for name, inner, bits in kind.items:
                start = (bits & 0xFFFFFF if kind.bitfields else bits) // 8
                if start <= offset < start + max(self._sizeof(inner), 1):
                    label = self._text(name)
                    path, at, length, leaf = self.leaf(inner, offset - start)
                    return (f".{label}" if label else "") + path, start + at, length, leaf
            return "", offset, 1, 0
        return "", 0, max(self._sizeof(number), 1), number

    def enumerators(self, number: int) -> dict[int, str]:
        """Return the names of an enumeration's values; none for another type."""
        kind = self._at(number)
        return {item[1]: self._text(item[0]) for item in kind.items} if kind.kind == ENUM else {}

    def enumerator(self, name: str, wanted: str) -> int | None:
        """Return the value of a name of an enumeration, or None if there is none."""
        named = (t for t in self.types if t and t.kind == ENUM and t.name == name)
        return next((item[1] for t in named for item in t.items if self._text(item[0]) == wanted), None)

    def structure(self, name: str) -> int:
        """Return the number of a structure's type. Raise FpstateError if there is none."""
        return self._structure(name)

    def _structure(self, name: str) -> int:
        if name not in self._structures:
            raise FpstateError(f"the kernel's types have no struct {name}", expected="an arm64 Linux with KVM built in")
        return self._structures[name]

    def _member(self, number: int, wanted: str) -> tuple[int, int] | None:
        kind = self._at(self._plain(number))
        if kind.kind not in (STRUCT, UNION):
            return None
        for name, inner, bits in kind.items:
            offset = (bits & 0xFFFFFF if kind.bitfields else bits) // 8
            label = self._text(name)
            if label == wanted:
                return inner, offset
            if not label and (found := self._member(inner, wanted)):
                return found[0], found[1] + offset
        return None

    def _at(self, number: int) -> Type:
        found = self.types[number]
        return found if found is not None else Type(0, "void", 0, False, [])

    def _plain(self, number: int) -> int:
        while self._at(number).kind in PASSED_THROUGH:
            number = self._at(number).size
        return number

    def _sizeof(self, number: int) -> int:
        kind = self._at(self._plain(number))
        if kind.kind == ARRAY:
            return self._sizeof(kind.items[0][0]) * kind.items[0][2]
        return 8 if kind.kind == PTR else kind.size


def _sections(image: bytes, at: int) -> tuple[bytes, bytes] | None:
    """Return the types and the strings that a header at `at` tells of; None if it is no header."""
    if at + 24 > len(image):
        return None
    length, type_at, type_size, text_at, text_size = struct.unpack_from("<IIIII", image, at + 4)
    types, texts = image[at + length + type_at :][:type_size], image[at + length + text_at :][:text_size]
    sound = length == 24 and type_at == 0 and text_at == type_size and len(texts) == text_size and texts[:1] == b"\0"
    return (types, texts) if sound and type_size else None
