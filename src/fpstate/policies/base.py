"""What a policy is made of: what its author subclasses, calls and assigns.

A policy is a class with a `name` and a handler for each event it cares about, named like the event in lower case
(`thread_switch`, `guest_enter`, `guest_fp_trap`, ...). A handler gets the entities that kernel code has in view at
that point: this CPU, the current task, and its vCPU or a second thread. It may read and assign their declared
fields, compare pointers with the entities in view, and ask the CPU for operations; nothing else.

Fields are declared in the nested classes `Cpu`, `Task` and `Vcpu`, each with its starting value:

    foreign: bool = True                a flag
    owner: Owner = Owner.FREE           a member of an Enum
    uses: int = bounded(0, 5)           a counter from 0 to 5
    last: Context | None = None         on a Cpu: a pointer to a context
    last_cpu: Cpu | None = None         on a Task or Vcpu: a pointer to a CPU
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar, Concatenate, NoReturn, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")
Self = TypeVar("Self", bound="Policy")


class Bounded(int):
    """The starting value of a counter, with its range (both ends belong to it)."""

    low: int
    high: int


def bounded(low: int, high: int, start: int | None = None) -> int:
    """Declare a counter from `low` to `high` (at most 256 values), starting at `start` or `low`."""
    value = Bounded(low if start is None else start)
    value.low, value.high = low, high
    return value


def _only_in_a_handler() -> NoReturn:
    raise TypeError("operations can only be asked for inside a handler, by an engine")


class Context:
    """Anything that owns FP state: a task's user state, a task's kernel-mode state, a vCPU's guest state."""


class Policy:
    """The base of all policies. Subclasses with a `name` of their own are found by that name."""

    name: ClassVar[str]
    source: ClassVar[str] = ""
    """Where this way of switching is or was used: commit, patch, file, paper."""
    gives_up: ClassVar[tuple[str, ...]] = ()
    """Properties this policy does not have by design, such as "transient exposure" or "timing"."""

    preemptible_neon: ClassVar[bool] = False
    """Kernel NEON sections can be preempted, and softirqs may use NEON inside them (Linux arm64 since v6.8)."""

    class Cpu:
        """A CPU, as kernel code running on it sees it: its trap settings and per-CPU variables."""

        guest_fp_trap: bool = False
        """The guest's next FP use traps to the hypervisor (CPTR_EL2.TFP; CPACR_EL1.FPEN clear on VHE)."""
        user_fp_trap: bool = False
        """User mode's next FP use traps to the kernel (CPACR_EL1.FPEN, CR0.TS)."""

        def save(self, context: Context | None) -> None:
            """Copy the registers to the image of `context`."""
            _only_in_a_handler()

        def load(self, context: Context | None) -> None:
            """Copy the image of `context` to the registers."""
            _only_in_a_handler()

        def clear(self, context: Context) -> None:
            """Set the registers to the initial state of `context` (zeros) without reading memory."""
            _only_in_a_handler()

        def stash_host(self) -> None:
            """Copy the registers to this CPU's private host copy."""
            _only_in_a_handler()

        def load_stash(self) -> None:
            """Copy this CPU's private host copy to the registers."""
            _only_in_a_handler()

        def overwrite(self, context: Context) -> None:
            """Write a whole new value into the image: zeros at exec, the frame at sigreturn, reset values."""
            _only_in_a_handler()

        def edit(self, context: Context) -> None:
            """Change part of the image from outside; what was there must have been up to date."""
            _only_in_a_handler()

        def called(self, function: str) -> None:
            """Note that the kernel function of this name begins (see `kernel_function`)."""
            _only_in_a_handler()

        def returned(self) -> None:
            """Note that the kernel function called last is at its end."""
            _only_in_a_handler()

    class Task(Context):
        """A thread's user state. Its kernel-mode FP state is `kernel`, a context of its own."""

        kernel: Context

    class Vcpu(Context):
        """A vCPU's guest state."""

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: kernel code has no memory but the fields of CPU, task and vCPU."""
        raise AttributeError(f"a policy cannot keep '{name}' in itself; declare a field on Cpu, Task or Vcpu")


def kernel_function(
    function: Callable[Concatenate[Self, Any, P], R],
) -> Callable[Concatenate[Self, Any, P], R]:
    """Mark a method whose first argument is the CPU as a kernel function that a function tracer would show."""

    @functools.wraps(function)
    def marked(self: Self, cpu: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        cpu.called(function.__name__)
        answer = function(self, cpu, *args, **kwargs)
        cpu.returned()
        return answer

    return cast("Callable[Concatenate[Self, Any, P], R]", marked)
