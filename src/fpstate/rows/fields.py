"""The fields a policy declares on CPU, task and vCPU: where each lies and what its codes mean."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

from fpstate.errors import FpstateError
from fpstate.policies.base import Bounded, Policy, When
from fpstate.world.state import F_AARCH32, F_FPMR, F_GUEST_SME, F_GUEST_SVE, F_SME, F_SVE

RESERVED = {
    "guest_fp_trap": 0, "user_fp_trap": 1, "user_sve_trap": 2, "guest_sve_trap": 3, "user_sme_trap": 4, "sm": 5,
    "za": 6, "dirty": 7,
}  # fmt: skip
"""Fields of a CPU that are hardware: the world knows their bits (world.state)."""


TIMED = "expired"
"""The field of a task that the clock sets, `Policy.timeout` after a handler has cleared it."""
MOST_FALLS = 4
TOSSED = "coin"
"""The field of a CPU that has any of its values at each event, where all orders of events are looked at."""


@dataclass(frozen=True)
class Field:
    """One declared field: where it lies and what its codes mean."""

    name: str
    values: tuple[Any, ...]  # of a word field: value of each code
    shift: int  # in the word; of a pointer: its slot, 0 or 1
    bits: int
    pointer: str = ""  # "", "context" or "cpu"
    start: int = 0
    timed: bool = False  # the clock sets it

    @property
    def mask(self) -> int:
        """Its bits in the word."""
        return (1 << self.bits) - 1 << self.shift

    @property
    def counts(self) -> bool:
        """Whether it is a counter: its values follow each other."""
        return len(self.values) > 2 and all(type(value) is int for value in self.values)


def declared(owner: type, kind: str, features: frozenset[str]) -> tuple[list[Field], dict[str, Any]]:
    """Return the fields of a policy's nested class (`kind`: "Cpu", "Task", "Vcpu"), base classes first.

    Also return the fields that exist only with features that are not among `features`, with the value each reads as.
    """
    fields: dict[str, Field] = {}
    absent: dict[str, Any] = {}
    shift, slots = 0 if kind != "Cpu" else len(RESERVED) if features else 2, 0
    for cls in reversed(owner.__mro__):
        _refuse_untyped(cls)
        for name, note in inspect.get_annotations(cls).items():
            if name == "kernel" or name in fields or name in absent:
                continue
            if not hasattr(owner, name):
                raise _refused(cls, name, "has no starting value", f"{name}: {note} = ...")
            start = getattr(owner, name)
            if isinstance(start, When):
                if start.feature not in features:
                    absent[name] = start.otherwise
                    continue
                start = start.start
            coin = name == TOSSED and kind == "Cpu"
            if coin and start is None:
                raise _refused(cls, name, "is a coin, and cannot be that", "a flag, an Enum, or a counter")
            if start is None:
                pointer = "cpu" if "Cpu" in str(note) else "context"
                if (pointer == "context") != (kind == "Cpu") or slots == 2:
                    expected = "at most two pointers, to contexts on a Cpu, to CPUs on a Task or Vcpu"
                    raise _refused(cls, name, "is not a pointer this place can hold", expected)
                fields[name] = Field(name, (), slots, 3 if pointer == "context" else 2, pointer)
                slots += 1
                continue
            values = _values(start, cls, name)
            bits = (len(values) - 1).bit_length()
            reserved = RESERVED.get(name) if kind == "Cpu" else None
            at = shift if reserved is None else reserved
            timed = name == TIMED and kind == "Task"
            if timed and values != (False, True):
                raise _refused(cls, name, "is set by the clock", f"{name}: bool = True")
            if coin and (values.index(start) or len(values) > MOST_FALLS):
                expected = f"its first value to start with, of at most {MOST_FALLS}"
                raise _refused(cls, name, "is a coin, and cannot be that", expected)
            fields[name] = Field(name, values, at, bits, start=values.index(start), timed=timed)
            shift += bits if reserved is None else 0
    return list(fields.values()), absent


def _refuse_untyped(cls: type) -> None:
    for name, value in vars(cls).items():
        if not (name.startswith("_") or callable(value) or name in inspect.get_annotations(cls)) and cls is not object:
            raise _refused(cls, name, "has no type", f"{name}: {type(value).__name__} = ...")


def _refused(cls: type, name: str, what: str, expected: str) -> FpstateError:
    """Return the error for a declaration that cannot be; where it stands is looked for only now, since that is slow."""
    return FpstateError(f"field '{cls.__qualname__}.{name}' {what}", expected=expected, where=_defined(cls, name))


def _defined(cls: type, name: str) -> str:
    """Return file and line at which a class declares a field."""
    try:
        lines, first = inspect.getsourcelines(cls)
        file = inspect.getsourcefile(cls)
    except (OSError, TypeError):  # made without a file
        return f"{cls.__module__}.{cls.__qualname__}"
    declares = (first + i for i, text in enumerate(lines) if re.match(rf"\s*{name}\s*[:=]", text))
    return f"{file}:{next(declares, first)}"


def _values(start: object, cls: type, name: str) -> tuple[Any, ...]:
    if isinstance(start, bool):
        return (False, True)
    if isinstance(start, Enum):
        return tuple(type(start))
    if isinstance(start, Bounded):
        if not (start.low <= start <= start.high < start.low + 256):
            raise _refused(cls, name, "has an impossible range", "at most 256 values, start within")
        return tuple(range(start.low, start.high + 1))
    raise _refused(cls, name, f"starts as {start!r}", "a bool, an Enum member, bounded(), or None")


def width(fields: list[Field]) -> int:
    """Return how many bits the word of these fields has."""
    return max((f.shift + f.bits for f in fields if not f.pointer), default=0)


def start_word(fields: list[Field]) -> int:
    """Return the word at the start of the world."""
    return sum(f.start << f.shift for f in fields if not f.pointer)


def kind_of(role: str, second_is_vcpu: bool) -> str:
    """Return the nested class ("Cpu", "Task", "Vcpu") of whoever has `role` ("cpu", "task", "second")."""
    return "Cpu" if role == "cpu" else "Vcpu" if role == "second" and second_is_vcpu else "Task"


FEATURE_BITS = {
    "sve": F_SVE, "guest-sve": F_GUEST_SVE, "sme": F_SME, "fpmr": F_FPMR, "upper": F_FPMR, "aarch32": F_AARCH32,
    "guest-sme": F_GUEST_SME,
}  # fmt: skip
"""Features that give a world more registers, as its bits."""


def features_of(policy: type[Policy]) -> int:
    """Return the features of the world a policy is for, as the world's bits."""
    return sum(FEATURE_BITS.get(feature, 0) for feature in policy.features)


class Fields:
    """The declared fields of a policy, by kind of entity."""

    def __init__(self, policy: type[Policy]) -> None:
        both = {kind: declared(getattr(policy, kind), kind, policy.features) for kind in ("Cpu", "Task", "Vcpu")}
        self.lists = {kind: fields for kind, (fields, _) in both.items()}
        self.absent = {kind: absent for kind, (_, absent) in both.items()}
        self.features = policy.features
        self.wide = features_of(policy) != 0  # the world has more registers than V
        self.kernel_traps = policy.kernel_traps
        self._by_name = {kind: {f.name: f for f in fields} for kind, fields in self.lists.items()}
        self.words = (
            start_word(self.lists["Cpu"]),
            start_word(self.lists["Task"]),
            start_word(self.lists["Vcpu"]),
        )

    @property
    def timer(self) -> int:
        """The bit of a task's word that the clock sets, 0 if there is none."""
        return sum(1 << f.shift for f in self.lists["Task"] if f.timed)

    @property
    def coin(self) -> Field | None:
        """The field of a CPU that falls in any way, if there is one."""
        return self._by_name["Cpu"].get(TOSSED)

    def of(self, role: str, second_is_vcpu: bool) -> dict[str, Field]:
        """Return the fields of whoever has `role` ("cpu", "task", "second"), by name."""
        return self._by_name[kind_of(role, second_is_vcpu)]
