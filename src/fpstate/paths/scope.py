"""The scope of a check: how many CPUs, tasks, kernel threads and vCPUs, and which events may happen."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from fpstate.errors import FpstateError, unknown_name
from fpstate.paths import order
from fpstate.paths.order import Bounds
from fpstate.policies.base import Policy
from fpstate.rows.fields import FEATURE_BITS, Fields, features_of
from fpstate.rows.learn import Rows
from fpstate.world.events import IF_HANDLED, Event
from fpstate.world.state import (
    F_GUEST_SME,
    F_GUEST_SVE,
    F_SME,
    F_SVE,
    MODE,
    PLAIN,
    REGISTERS,
    ZEROS,
    World,
    new_world,
    zeroed_classes,
)

NO_EVENTS = {order.RESUME: "resume", order.EXPIRE: "expire"}
KIND_NAMES = {k: NO_EVENTS[k] if k in NO_EVENTS else Event(k).name.lower() for k in order.MOVES}
GROUPS: dict[str, tuple[int, ...]] = {
    "neon": (order.NEON_BEGIN, order.NEON_END, order.SOFTIRQ),
    "kvm": (
        order.RUN_ENTER,
        order.LOAD,
        order.ENTER,
        order.GUEST_FP,
        order.EXIT_GUEST,
        order.PUT,
        order.RUN_EXIT,
        order.NESTED_SWITCH,
    ),
    "vcpu_writes": (order.SETREG, order.RESET, order.FREE_VCPU, order.GETREG, order.UNBIND),
    "hotplug": (order.DOWN, order.UP),
    "pm": (order.PM_ENTER,),
    "lifecycle": (order.FORK, order.EXEC, order.EXIT),
    "signals": (order.SIGNAL, order.SIGRETURN),
    "ptrace": (
        order.PTRACE_WRITE,
        order.PTRACE_SVE,
        order.PTRACE_STREAMING,
        order.PTRACE_ZA,
        order.PTRACE_READ,
        order.PTRACE_VL,
    ),
    "sve": order.WIDE_MOVES[F_SVE],
    "guest_sve": order.WIDE_MOVES[F_GUEST_SVE],
    "guest_sme": order.WIDE_MOVES[F_GUEST_SME],
    "sme": order.WIDE_MOVES[F_SME],
    "handoff": (order.PREPARE, order.TAKE_OVER),
    "base": (order.SWITCH, order.RET, order.USER_FP, order.SYSCALL, order.RESUME, order.EXPIRE),
}
"""Names that stand for several events. "base" is always in."""

ENDS = {
    order.NEON_BEGIN: (order.NEON_END,),
    order.RUN_ENTER: (order.LOAD, order.PUT, order.RUN_EXIT),
    order.LOAD: (order.PUT, order.RUN_EXIT),
    order.ENTER: (order.EXIT_GUEST,),
    order.PREPARE: (order.TAKE_OVER,),
}
"""What must follow an event sooner or later: these come along with it, else worlds would get stuck."""

HANDOFF = (Event.HANDOFF_PREPARE, Event.HANDOFF_FINISH)
BOOTS = ("unknown", "initial")
MANY = 16
"""Values of a counter beyond which a default scope has one task and one vCPU."""
LIMITS = {"cpus": (1, 4), "tasks": (0, 6), "kthreads": (0, 3), "vcpus": (0, 4)}


@dataclass(frozen=True)
class Scope:
    """Bounds of a check. `events` are names of events or groups; "all" is everything, and "-name" takes one away.

    `boot` says what the registers of all CPUs hold at the start: "unknown", or "initial", the same as a new task's.
    Where identities are handed over, the last of two or more tasks begins as a worker, which has none.
    So many vCPUs, the last ones, are plain: their guests have none of the features (SVE, FPMR, 32-bit) of the others.
    """

    cpus: int = 2
    tasks: int = 2
    vcpus: int = 1
    kthreads: int = 0
    events: tuple[str, ...] = ("all",)
    boot: str = "unknown"
    plain_vcpus: int = 0

    def __post_init__(self) -> None:
        """Refuse an impossible scope."""
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise FpstateError(f"a scope with {value} {name} is impossible", expected=f"{low} to {high}")
        if self.vcpus and not self.tasks:
            raise FpstateError("vCPUs need a task to run them", expected="--tasks of at least 1")
        if not self.tasks:
            raise FpstateError("a scope without tasks has nothing to check", expected="--tasks of at least 1")
        if not 0 <= self.plain_vcpus <= self.vcpus:
            given = f"{self.plain_vcpus} of {self.vcpus} vCPUs are to be plain"
            raise FpstateError(given, expected=f"0 to {self.vcpus}")
        if self.boot not in BOOTS:
            raise unknown_name("state of registers at boot", self.boot, BOOTS)
        kinds_of(self.events)

    def describe(self) -> str:
        """Return the scope as one line."""
        what = ", ".join(f"{getattr(self, n)} {n}" for n in LIMITS)
        boot = "; registers at boot: initial" if self.boot == "initial" else ""
        plain = f", {self.plain_vcpus} of them plain" if self.plain_vcpus else ""
        return f"{what}{plain}; events: {','.join(self.events)}{boot}"

    def counted(self) -> str:
        """Return what there is, and what may happen, in words: "2 CPUs, 1 task, 1 vCPU, all events"."""
        names = {"cpus": "CPU", "tasks": "task", "kthreads": "kernel thread", "vcpus": "vCPU"}
        counts = [(getattr(self, field), name) for field, name in names.items()]
        what = ", ".join(f"{n} {name}{'' if n == 1 else 's'}" for n, name in counts if n)
        events = "all events" if self.events == ("all",) else f"events {','.join(self.events)}"
        return f"{what}, {events}"

    def smaller_than(self, other: Scope) -> bool:
        """Tell whether `other` has more of anything, or events that cannot happen here."""
        fewer = any(getattr(self, name) < getattr(other, name) for name in LIMITS)
        return fewer or bool(kinds_of(other.events) & ~kinds_of(self.events))


def kinds_of(events: Iterable[str]) -> int:
    """Return the set of kinds of moves that names stand for, as bits, with what must follow them.

    FpstateError for an unknown name, and for a set that leaves nothing or cannot come to an end.
    """
    names = {name: (k,) for k, name in KIND_NAMES.items()} | GROUPS | {"all": order.MOVES}
    bits, taken_away = 0, 0
    chosen = list(events)
    if not chosen or "-base" in chosen or "-all" in chosen:
        raise FpstateError(f"'{','.join(chosen)}' leaves nothing to check", expected="events or groups besides 'base'")
    if chosen and all(name.startswith("-") for name in chosen):
        chosen.insert(0, "all")
    for given in [*chosen, "base"]:
        name = given.removeprefix("-")
        if name not in names:
            raise unknown_name("event", name, names)
        for kind in names[name]:
            if given.startswith("-"):
                bits, taken_away = bits & ~(1 << kind), taken_away | 1 << kind
            else:
                bits |= 1 << kind
    for begin, ends in ENDS.items():
        for end in ends:
            if bits >> begin & 1 and taken_away & ~bits & 1 << end:
                what = f"'{','.join(chosen)}' has {KIND_NAMES[begin]}, and takes {KIND_NAMES[end]} away"
                raise FpstateError(what, expected=f"both, or neither: without {KIND_NAMES[end]} nothing could follow")
            bits |= (bits >> begin & 1) << end
    return bits


def named_kinds(events: Iterable[str]) -> list[int]:
    """Return the kinds of moves that are named one by one, not as part of a group."""
    numbers = {name: kind for kind, name in KIND_NAMES.items()}
    return [numbers[name] for name in events if name in numbers]


def _refuse_absent(scope: Scope, features: int) -> None:
    """Raise FpstateError for an event asked for by name that cannot happen in a scope."""
    of_vcpus = (*GROUPS["kvm"], *GROUPS["vcpu_writes"], *GROUPS["guest_sve"], *GROUPS["guest_sme"])
    for kind in named_kinds(scope.events):
        lacking = [f for f, kinds in order.WIDE_MOVES.items() if kind in kinds and not features & f]
        needs = [name for name, bit in FEATURE_BITS.items() if bit in lacking]
        lack = ""
        if needs:
            lack = f"feature '{needs[0]}', which this world has not: --features {needs[0]}"
        elif kind in of_vcpus and not scope.vcpus:
            lack = "a vCPU: --vcpus 1"
        elif kind in GROUPS["hotplug"] and scope.cpus < 2:
            lack = "a CPU that stays up: --cpus 2"
        elif kind in GROUPS["handoff"] and features:
            lack = "a world with FPSIMD registers alone"
        elif kind in GROUPS["handoff"] and scope.tasks < 2:
            lack = "a task and a worker: --tasks 2"
        if lack:
            raise FpstateError(f"event '{KIND_NAMES[kind]}' cannot happen in this scope", expected=lack)


def build(scope: Scope, rows: Rows, *, zeros: bool = True) -> tuple[Bounds, World]:
    """Return a scope as the compiled code takes it, and the world it starts from; `zeros` as in `new_world`."""
    features = features_of(rows.policy)
    _refuse_absent(scope, features)
    named = named_kinds(scope.events)
    wanted = {e for e in IF_HANDLED if rows.handler(e) is not None or e in named}
    if wanted & {*HANDOFF}:  # neither is of any use alone
        wanted |= {*HANDOFF}
    unhandled = (int(e) for e in IF_HANDLED - wanted)
    absent = (k for feature, kinds in order.WIDE_MOVES.items() if not features & feature for k in kinds)
    on_top = () if rows.policy.softirqs else (order.SOFTIRQ, order.EFI)
    flags = {f.name: 1 << f.shift for f in rows.fields.lists["Task"] if not f.pointer}
    _, task_word, vcpu_word = rows.fields.words
    coin = rows.fields.coin
    bounds = Bounds(
        scope.cpus,
        scope.tasks,
        scope.kthreads,
        scope.vcpus,
        events=kinds_of(scope.events) & ~sum(1 << k for k in {*absent, *unhandled, *on_top}),
        vcpu_mutex=rows.policy.vcpu_mutex,
        preempt_neon=rows.policy.preemptible_neon,
        task_word=task_word,
        vcpu_word=vcpu_word,
        foreign=flags.get("foreign", 0),
        tif_sve=flags.get("tif_sve", 0),
        timer=rows.fields.timer,
        coin=coin.mask if coin else 0,
        falls=len(coin.values) if coin else 1,
    )
    first_task = scope.cpus
    first_kthread = first_task + scope.tasks
    first_vcpu = first_kthread + scope.kthreads
    x = np.arange(first_vcpu + scope.vcpus)
    world = new_world(
        scope.cpus, x >= first_vcpu, rows.fields.words, features, dirty=rows.policy.dirty_bit, zeros=zeros
    )
    plain = np.flatnonzero(x >= len(x) - scope.plain_vcpus)
    if features and len(plain):
        world.context[plain, PLAIN] = 1
        rows.without_features(world, np.isin(x, plain))
    if scope.boot == "initial":
        world.cpu[:, [REGISTERS + k for k in zeroed_classes(world)]] = ZEROS
    rows.clear_mm(world, (x < first_task) | (x >= first_kthread) & (x < first_vcpu))
    order.start(world)
    if bounds.events >> order.TAKE_OVER & 1 and scope.tasks > 1 and not features:
        world.context[first_kthread - 1, MODE] = order.WORKER
    return bounds, world


def names_of(scope: Scope) -> list[str]:
    """Return what to call each context of a scope, in order."""
    names = [f"idle{c}" for c in range(scope.cpus)]
    names += [chr(ord("A") + t) for t in range(scope.tasks)]
    names += [f"kthread{k}" for k in range(scope.kthreads)]
    return [*names, *(f"vcpu{v}" for v in range(scope.vcpus))]


def policy_scope(policy: type[Policy]) -> Scope:
    """Return the default scope for a policy, one that finishes in seconds: two CPUs, two tasks, two vCPUs.

    Without a handler for vCPUs there are none; where a vCPU has a counter of more than MANY values there is one, and
    one task. With more registers than FPSIMD there are one CPU, two tasks (one if guests use SVE or tasks SME) and one
    vCPU (two if guests are 32-bit), and with SVE no ptrace.
    """
    vcpus = any(hasattr(policy, handler) for handler in ("run_enter", "vcpu_load", "guest_enter"))
    if policy.features & {"sve", "sme", "fpmr", "aarch32"}:
        tasks = 1 if policy.features & {"guest-sve", "sme"} else 2
        return Scope(
            1, tasks, int(vcpus) * (2 if "aarch32" in policy.features else 1), 0, default_events(policy.features)
        )
    if any(f.counts and len(f.values) > MANY for f in Fields(policy).lists["Vcpu"]):
        return Scope(2, 1, 1)
    return Scope(vcpus=2 if vcpus else 0)


def default_events(features: Collection[str]) -> tuple[str, ...]:
    """Return the events of the default scope of a policy with features."""
    return ("all", "-ptrace") if "sve" in features else ("all",)


def scope_of_pairs(default: Scope) -> Scope:
    """Return the default scope of what is searched for in pairs of worlds: one CPU, two tasks, at most one vCPU."""
    vcpus = min(default.vcpus, 1)
    return Scope(1, 2, vcpus, 0, ("base", "kvm") if vcpus else ("base",))
