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
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Concatenate, NoReturn, ParamSpec, TypeVar, cast

from fpstate.errors import FpstateError, unknown_name

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


class When:
    """The starting value of a field that exists only in worlds with a feature."""

    def __init__(self, feature: str, start: Any, otherwise: Any) -> None:
        self.feature, self.start, self.otherwise = feature, start, otherwise


def when(feature: str, start: R, otherwise: R | None = None) -> R:
    """Declare a field that exists only with a feature; without it, it reads as `otherwise` (if None, as `start`)."""
    return cast("R", When(feature, start, start if otherwise is None else otherwise))


FEATURES = {
    "sve": "tasks use SVE",
    "guest-sve": "guests use SVE too",
    "sme": "tasks use streaming mode and ZA",
    "guest-sme": "guests use streaming mode and ZA too",
    "fpmr": "tasks and guests use FPMR",
    "upper": "upper halves of registers that are saved apart (x86 YMM, LoongArch LSX), and that V does not touch",
    "aarch32": "guests are 32-bit and own FPEXC32_EL2",
    "nvhe": "the hypervisor runs at EL2 and the host below it",
    "dirty-bit": "hardware notes when FP registers are written (RISC-V sstatus.FS and VS)",
    "barriers": "a changed trap setting takes effect at the next ISB or exception return only",
}
"""What a world may have beside FPSIMD and VHE. A policy says which of them it supports."""


def _only_in_a_handler() -> NoReturn:
    raise TypeError("operations can only be asked for inside a handler, by an engine")


class Context:
    """Anything that owns FP state: a task's user state, a task's kernel-mode state, a vCPU's guest state."""


class Policy:
    """The base of all policies. Subclasses with a `name` of their own are found by that name."""

    name: ClassVar[str]
    source: ClassVar[str] = ""
    """Where this way of switching is or was used: commit, patch, file, paper."""
    kernels: ClassVar[str] = ""
    """Which kernels decide so; empty for what no kernel does."""
    gives_up: ClassVar[tuple[str, ...]] = ()
    """Properties this policy does not have by design, such as "transient exposure" or "timing"."""

    preemptible_neon: ClassVar[bool] = False
    """Kernel NEON sections can be preempted, and softirqs may use NEON inside them (Linux arm64 since v6.8)."""

    preemptible: ClassVar[bool] = True
    """The scheduler may come in at a point of a handler, and not softirqs alone (CONFIG_PREEMPTION)."""

    softirqs: ClassVar[bool] = True
    """Softirqs come in on top of threads; not with PREEMPT_RT, where they are threads themselves."""

    kernel_traps: ClassVar[tuple[str, ...]] = ()
    """Traps, as fields of a Cpu, that stop kernel code as well as user mode while they are armed: ("user_fp_trap",) for
    CR0.TS, or CPACR_EL1.FPEN = 0. The kernel's own operations behind one of them break property kernel-trap."""

    vcpu_mutex: ClassVar[bool] = True
    """Other threads cannot read or write the registers of a vCPU while it is in KVM_RUN (vcpu->mutex of KVM)."""

    timeout: ClassVar[float] = 1.0
    """Seconds after which the clock sets a task's field `expired`, counted from when a handler last cleared it."""

    handler_seconds: ClassVar[float] = 5.0
    """How long a handler may take; one in Python takes microseconds."""

    features: ClassVar[frozenset[str]] = frozenset()
    """The features of the world this class is for (`with_features`)."""
    supports: ClassVar[frozenset[str]] = frozenset()
    """The features this policy knows about, of FEATURES."""

    sve = guest_sve = sme = guest_sme = fpmr = upper = aarch32 = nvhe = dirty_bit = barriers = False
    """Whether this run has the feature (`with_features`), as kernel code asks by system_supports_sve() and the like."""

    @classmethod
    def in_world(cls, features: frozenset[str]) -> type[Policy]:  # noqa: ARG003
        """Return the class that decides as this policy in a world with `features`: itself, or another body of code."""
        return cls

    class Cpu:
        """A CPU, as kernel code running on it sees it: its trap settings and per-CPU variables."""

        guest_fp_trap: bool = False
        """The guest's next FP use traps to the hypervisor (CPTR_EL2.TFP; CPACR_EL1.FPEN clear on VHE)."""
        user_fp_trap: bool = False
        """User mode's next FP use traps to the kernel (CPACR_EL1.FPEN, CR0.TS)."""
        user_sve_trap: bool = when("sve", True)
        """User mode's next SVE use traps (CPACR_EL1.ZEN, EL0EN clear)."""
        guest_sve_trap: bool = when("guest-sve", True)
        """The guest's next SVE use traps (CPTR_EL2.TZ; CPACR_EL1.ZEN clear on VHE)."""
        user_sme_trap: bool = when("sme", True)
        """User mode's next SME instruction traps (CPACR_EL1.SMEN, EL0EN clear)."""
        dirty: bool = when("dirty-bit", False)
        """User mode or a guest has written FP registers since this was cleared. Hardware sets it."""
        sm: bool = when("sme", False)
        """SVCR.SM: the CPU is in streaming mode. Read it; `set_svcr` and `smstop` change it."""
        za: bool = when("sme", False)
        """SVCR.ZA."""

        def save(self, context: Context | None) -> None:
            """Copy the registers to the image of `context`."""
            _only_in_a_handler()

        def load(self, context: Context | None) -> None:
            """Copy the image of `context` to the registers."""
            _only_in_a_handler()

        def clear(self, context: Context) -> None:
            """Set the registers to the initial state of `context` (zeros) without reading memory.

            For the task in its handler `signal`: the frame is built from the image as it is at this point, and the
            task's own signal handler begins with the initial state.
            """
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

        def new_place(self, context: Context) -> None:
            """Let the image hold rubbish: it is at another place (the next frame on a stack), or was written over."""
            _only_in_a_handler()

        def save_some(self, context: Context) -> None:
            """Copy some of the registers to the image, which holds rubbish then, unless both held the same."""
            _only_in_a_handler()

        def load_some(self, context: Context) -> None:
            """Copy some of the image to the registers, in the same way."""
            _only_in_a_handler()

        def edit(self, context: Context) -> None:
            """Change part of the image from outside; what was there must have been up to date."""
            _only_in_a_handler()

        def fetch(self, context: Context, *, look: bool = False) -> None:
            """Interrupt the CPU that the first pointer of `context` names, if it is another one (IPI).

            If that CPU's first pointer names `context`, it saves its registers to the image; both pointers become None.
            If it does not, it is interrupted in vain, unless others may `look` at its pointer.
            """
            _only_in_a_handler()

        # With feature sve.

        def save_sve(self, context: Context | None) -> None:
            """Copy V and Z to the SVE form of the image, at the length in force (sve_save_state)."""
            _only_in_a_handler()

        def load_sve(self, context: Context | None) -> None:
            """Copy the SVE form of the image to V and Z (sve_load_state)."""
            _only_in_a_handler()

        def widen(self, context: Context | None) -> None:
            """Convert the image in memory from FPSIMD to SVE form; what is above 128 bits becomes zeros."""
            _only_in_a_handler()

        def narrow(self, context: Context | None) -> None:
            """Copy V from the SVE form of the image in memory to the FPSIMD form."""
            _only_in_a_handler()

        def zero_sve(self) -> None:
            """Zero Z above 128 bits, P and FFR in the registers (sve_flush_live)."""
            _only_in_a_handler()

        def set_vl(self, context: Context | None) -> None:
            """Put the vector length of `context` in force; for a vCPU the longest its guest may choose."""
            _only_in_a_handler()

        def alloc_sve(self, context: Context | None, flush: bool = True) -> None:
            """Allocate storage for the SVE form, all zeros; what there is already is zeroed, or left if not `flush`."""
            _only_in_a_handler()

        def free_sve(self, context: Context | None) -> None:
            """Free the storage for the SVE form."""
            _only_in_a_handler()

        def overwrite_sve(self, context: Context | None) -> None:
            """Write a whole new value into the SVE form of the image."""
            _only_in_a_handler()

        def edit_sve(self, context: Context | None) -> None:
            """Change part of the SVE form from outside; what was there must have been up to date."""
            _only_in_a_handler()

        def frame_sve(self, context: Context | None) -> None:
            """Put an SVE record into the signal frame being built."""
            _only_in_a_handler()

        def drop_sve(self) -> None:
            """Tell firmware that no SVE state is live (SMCCC 1.3)."""
            _only_in_a_handler()

        def fetch_sve(self, context: Context) -> None:
            """Do as `fetch` does; the other CPU saves the SVE form (`save_sve`)."""
            _only_in_a_handler()

        # With feature sme, fpmr, aarch32 or guest-sve: one register class of the image alone.

        def save_part(self, part: str, context: Context | None) -> None:
            """Copy the registers "za", "fpmr", "upper", "fpexc" or "zcr" (a guest's own vector length) to the image."""
            _only_in_a_handler()

        def load_part(self, part: str, context: Context | None) -> None:
            """Copy that part of the image to the registers."""
            _only_in_a_handler()

        def stash_part(self, part: str) -> None:
            """Copy that register class to this CPU's private copy; here also "z", what SVE has beyond V."""
            _only_in_a_handler()

        def load_stash_part(self, part: str) -> None:
            """Copy that part of this CPU's private copy to the registers."""
            _only_in_a_handler()

        def overwrite_part(self, part: str, context: Context | None) -> None:
            """Write a new value into that part of the image."""
            _only_in_a_handler()

        def alloc_za(self, context: Context | None, flush: bool = True) -> None:
            """Allocate storage for ZA, in the same way."""
            _only_in_a_handler()

        def free_za(self, context: Context | None) -> None:
            """Free the storage for ZA."""
            _only_in_a_handler()

        def set_svcr(self, sm: bool, za: bool) -> None:
            """Write SVCR. Changing SM zeroes V, Z and FPMR, changing ZA zeroes ZA."""
            _only_in_a_handler()

        def smstop_sm(self, context: Context | None) -> None:
            """Zero V and FPMR of the image in memory, as leaving streaming mode does in registers (task_smstop_sm).

            For the task in its handler `signal`: the frame is built from the image as it is at this point.
            """
            _only_in_a_handler()

        def smstop(self) -> None:
            """Leave streaming mode and disable ZA."""
            _only_in_a_handler()

        def force_fpexc(self) -> None:
            """Set FPEXC32_EL2.EN, whatever the guest had there."""
            _only_in_a_handler()

        def isb(self) -> None:
            """Synchronise: trap settings written before are in effect for what follows."""
            _only_in_a_handler()

        def warn(self) -> None:
            """WARN_ON: the kernel finds its own flags contradicting each other."""
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

        has_sve: bool = when("guest-sve", True, False)
        """vcpu_has_sve(): this guest may use SVE, and its image is in SVE form. Nobody writes it, nor the next."""
        has_sme: bool = when("guest-sme", True, False)
        """vcpu_has_sme()."""
        has_fpmr: bool = when("fpmr", True, False)
        """vcpu_has_fpmr()."""

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: kernel code has no memory but the fields of CPU, task and vCPU."""
        raise AttributeError(f"a policy cannot keep '{name}' in itself; declare a field on Cpu, Task or Vcpu")


def with_features(policy: type[Policy], features: Iterable[str]) -> type[Policy]:
    """Return `policy` for a world with `features`; FpstateError for one unknown or not supported by it."""
    chosen = frozenset(features)
    for feature in sorted(chosen):
        if feature not in FEATURES:
            raise unknown_name("feature", feature, FEATURES)
    if "guest-sme" in chosen:
        chosen |= {"guest-sve", "sme"}
    if "guest-sve" in chosen or "sme" in chosen:
        chosen |= {"sve"}
    if {"upper", "fpmr"} <= chosen:
        raise FpstateError("features upper and fpmr are of different systems", expected="one of them")
    missing = sorted(chosen - policy.supports)
    if missing:
        known = ", ".join(sorted(policy.supports)) or "none beside FPSIMD"
        given = f"policy '{policy.name}' does not support {', '.join(missing)}"
        raise FpstateError(given, expected=f"features it supports: {known}", hint="`fpstate policies` shows them all")
    if not chosen:
        return policy
    flags: dict[str, Any] = {feature.replace("-", "_"): True for feature in chosen}
    about = {"name": policy.name, "__module__": policy.__module__, "__doc__": policy.__doc__, "features": chosen}
    return cast("type[Policy]", type(policy.__name__, (policy.in_world(chosen),), flags | about))


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
