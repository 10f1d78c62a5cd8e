"""What a historical bug is: a faulty policy, the fixed one, and where the difference must show."""

from __future__ import annotations

from dataclasses import dataclass

from fpstate.policies.base import Policy


@dataclass(frozen=True)
class Bug:
    """One bug of history.

    In the scope given, `faulty` must break `property` on a path no longer than `steps` (the recorded path, counted in
    the world's events), and `fixed` must hold. `events` are as in `fpstate check --events`.
    """

    id: str
    title: str
    fix: str  # commit of the fix, or where it is described
    faulty: type[Policy]
    fixed: type[Policy]
    property: str
    steps: int
    cpus: int = 1
    tasks: int = 2
    vcpus: int = 0
    kthreads: int = 0
    events: tuple[str, ...] = ("all",)
    note: str = ""
    features: tuple[str, ...] = ()


@dataclass(frozen=True)
class LeftOut:
    """A recorded bug that the world cannot express yet, and why."""

    id: str
    title: str
    reason: str
