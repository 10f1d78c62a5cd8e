"""Hold what a policy predicts against what a real kernel was seen to do, event for event and in order."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fpstate.errors import FpstateError
from fpstate.notebook import frame, html_table
from fpstate.policies.base import Policy, with_features
from fpstate.replay.engine import features_for, features_in, replay
from fpstate.rows.learn import Rows
from fpstate.traces.holes import sentences
from fpstate.traces.trace import Kind, Trace, version_of
from fpstate.world.events import Event, Truth
from fpstate.world.operations import SAVE
from fpstate.world.wide import SAVE_SVE

if TYPE_CHECKING:
    import polars

CHECKED = (
    Truth.HW_SAVE,
    Truth.HW_SVE_SAVE,
    Truth.DO_SVE_ACC,
    Truth.TASK_FPSIMD_LOAD,
    Truth.FPSIMD_RESTORE_CURRENT_STATE,
    Truth.FPSIMD_SAVE_AND_FLUSH_CPU_STATE,
    Truth.FPSIMD_BIND_STATE_TO_CPU,
    Truth.KVM_ARCH_VCPU_LOAD_FP,
    Truth.KVM_ARCH_VCPU_PUT_FP,
    Truth.GUEST_FP_TRAP,
)
BY_NAME = {t.name.lower(): t for t in CHECKED}
KERNELS = (
    ((7, 2), "linux-7.2"),
    ((6, 19), "linux-6.19"),
    ((6, 16), "linux-6.16"),
    ((6, 13), "linux-6.14"),
    ((6, 12), "linux-6.12.y"),
    ((6, 8), "linux-6.14"),
    ((6, 2), "linux-6.6.y"),
    ((6, 1), "linux-6.1.y"),
    ((5, 17), "linux-5.17"),
    ((5, 13), "linux-5.13"),
    ((5, 2), "linux-5.2"),
    ((4, 18), "linux-4.18"),
    ((4, 15), "linux-4.15"),
)
"""From which kernel version on a policy holds, latest first."""
WINDOW = 256
"""How many deeds of a stretch are aligned at a time."""
MAKES_KNOWN = (Event.RET_TO_USER, Event.SIGRETURN, Event.EXEC, Event.VCPU_LOAD)
"""After these, whether a task's registers are live no longer depends on what was before the trace."""


@dataclass(frozen=True)
class Deed:
    """One thing done about FP state: predicted (at the event of row `at`) or observed (row `at`)."""

    cpu: int
    what: Truth
    who: int  # context of the current thread
    at: int

    def same(self) -> tuple[int, int]:
        """Return what must be equal in a prediction and its observation."""
        return self.what, self.who


@dataclass(frozen=True)
class Difference:
    """The first place where prediction and observation part: row of the trace, and what each side has there."""

    cpu: int
    at: int
    predicted: list[str]
    observed: list[str]


@dataclass(frozen=True)
class Validation:
    """How well a policy predicts a trace. Counts are by name of what was done.

    `trace` is what there is to say of the trace itself; of what is excluded, `late` may have done nothing (see
    `may_be_late`).
    """

    trace: dict[str, Any]
    policy: str
    predicted: dict[str, int]
    observed: dict[str, int]
    missed: dict[str, int]
    extra: dict[str, int]
    excluded: int
    first: Difference | None
    late: int = 0

    @property
    def exact(self) -> bool:
        """Whether nothing was missed and nothing extra."""
        return not any(self.missed.values()) and not any(self.extra.values())

    def to_json(self) -> dict[str, Any]:
        """Return the result as in docs/json.md."""
        names = [t.name.lower() for t in CHECKED]
        sides = {"predicted": self.predicted, "observed": self.observed, "missed": self.missed, "extra": self.extra}
        return {
            "trace": self.trace,
            "policy": self.policy,
            "exact": self.exact,
            "excluded": self.excluded,
            "events": {n: {side: counts[n] for side, counts in sides.items()} for n in names},
            "first_difference": None if self.first is None else vars(self.first),
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return `event` and the four counts of each thing that was predicted or observed."""
        every = self.to_json()["events"].items()
        return [{"event": name, **counts} for name, counts in every if any(counts.values())]

    def sentences(self) -> list[str]:
        """Return what the figures leave out, and what the trace does not show."""
        others = self.excluded - self.late
        left_out = f"excluded: {others}, of tasks whose state was set before the trace began, or of what it ends in"
        said = [left_out] if others else []
        if self.late:
            said.append(
                f"excluded: {self.late}, of flags that were read before a switch; no load tells what came of it"
            )
        return said + [f"note: {s}" for s in (*sentences(self.trace["holes"]), *self.trace["unobserved"])]

    def verdict(self) -> list[str]:
        """Return the verdict as lines: exact, or the first difference."""
        if self.first is None:
            return ["exact: every one predicted, in order"]
        sides = (("predicted: ", self.first.predicted), ("observed:  ", self.first.observed))
        told = [f"  {name}{', '.join(deeds) or 'nothing'}" for name, deeds in sides]
        return [f"differs; first on CPU {self.first.cpu}:", *told]

    def to_polars(self) -> polars.DataFrame:
        """Return a row for each thing predicted or observed, with the four counts; FpstateError without Polars."""
        sides = ("predicted", "observed", "missed", "extra")
        return frame(self.rows(), {"event": str, **dict.fromkeys(sides, int)})

    def _repr_html_(self) -> str:
        """Return the table of the command for a notebook."""
        rows = [[row["event"], *(f"{n:,}" for n in list(row.values())[1:])] for row in self.rows()]
        heads = ["what the kernel did", "predicted", "observed", "missed", "extra"]
        title = f"{self.policy} against {self.trace['source']}"
        return html_table(title, heads, rows, below=[*self.verdict(), *self.sentences()])


def validate(trace: Trace, policy: type[Policy]) -> Validation:
    """Predict from the stimuli of `trace` what `policy` does, and hold it against the truth in the trace.

    What the recorder could not record, as the recording says, is not compared.
    """
    seen = sorted({Truth(int(e)) for e in np.unique(trace.event) if e >= Truth.HW_SAVE and e in set(Truth)})
    if not set(seen) & set(CHECKED):
        names = ", ".join(t.name.lower() for t in CHECKED)
        raise FpstateError("the trace holds no ground truth", expected=f"function tracer lines such as {names}")
    rows = Rows(with_features(policy, features_in(trace) | features_for(policy, trace)))
    outcome = replay(trace, rows, maybe=True, keep_rows=True, strict=True)
    known = known_from(trace)
    lacking = {BY_NAME[name] for name in trace.header.missing if name in BY_NAME}
    predicted = [d for d in predictions(trace, rows, outcome.used) if d.what not in lacking]
    observed = [d for d in observations(trace) if d.what not in lacking]
    kept_p = [d for d in predicted if d.at > known[d.who]]
    kept_o = [d for d in observed if d.at > known[d.who]]
    excluded = max(len(predicted) - len(kept_p), len(observed) - len(kept_o))
    missed, extra, first = differences(trace, kept_p, kept_o)
    late: set[Deed] = set()
    if first is not None:
        ends = last_events(trace)
        too_soon = {d for d in missed if d.at > ends[d.cpu]} | {d for d in extra if d.at >= ends[d.cpu]}
        late = may_be_late(trace, set(missed) - too_soon)
        excluded += len(too_soon | late)
        kept_p, kept_o = ([d for d in kept if d not in too_soon | late] for kept in (kept_p, kept_o))
        missed, extra, first = differences(trace, kept_p, kept_o)
    counts = {"predicted": kept_p, "observed": kept_o, "missed": missed, "extra": extra}
    by_name = {side: _by_name(deeds) for side, deeds in counts.items()}
    return Validation(trace.about(), policy.name, **by_name, excluded=excluded, first=first, late=len(late))


def policy_of_kernel(trace: Trace) -> str:
    """Return the name of the policy that the recorded kernel has, by its version.

    Stable kernels are taken to be recent: 6.1 and later ones have the change of v6.14. A recording that does not say
    its kernel is taken to be of 6.14, or of 6.1 if it shows that system calls drop SVE: a task trapped more than once.
    """
    version = version_of(trace.header.kernel)
    if version > (0, 0):
        return next((name for since, name in KERNELS if version >= since), "trap-per-entry")
    trapped = trace.subject[trace.event == Truth.DO_SVE_ACC]
    return "linux-6.1.y" if len(np.unique(trapped)) < len(trapped) else "linux-6.14"


def known_from(trace: Trace) -> NDArray[np.int64]:
    """Return, for each context, the row up to which its state hangs on what was before the trace (-1: known always)."""
    known = np.full(len(trace.contexts), -1, np.int64)
    started_here = set(trace.object[trace.event == Event.FORK].tolist())
    old = [x for x in np.flatnonzero(trace.contexts.kind == Kind.USER) if x not in started_here]
    known[old] = len(trace)
    rows = np.flatnonzero(np.isin(trace.event, MAKES_KNOWN))
    who, first = np.unique(trace.subject[rows], return_index=True)
    known[who] = np.minimum(known[who], rows[first])
    return known


def last_events(trace: Trace) -> NDArray[np.int64]:
    """Return, for each CPU, the row of the last event on it (-1: none): what is done there is cut off, or may be."""
    ends = np.full(trace.header.cpus, -1, np.int64)
    at = np.flatnonzero(trace.event < Truth.HW_SAVE)
    np.maximum.at(ends, trace.cpu[at].astype(np.int64), at)
    return ends


def may_be_late(trace: Trace, deeds: set[Deed]) -> set[Deed]:
    """Return the reloads that may have been called by a flag read before a switch, and have done nothing.

    exit_to_user_mode_loop reads all flags, lets others run if one says so, and then sees to the registers by what it
    has read, though the thread may have gone on where it has them. The function tests the flag again. Where loads are
    recorded, that none came tells it. Of a kernel without lines of them (7.3) it is enough that the thread ran once
    more between its system call and the switch before.
    """
    if "task_fpsimd_load" not in trace.header.missing:
        return set()
    reloads = {d for d in deeds if d.what == Truth.FPSIMD_RESTORE_CURRENT_STATE}
    switch = trace.event == Event.THREAD_SWITCH
    found = set()
    for who in {d.who for d in reloads}:
        comes = np.flatnonzero(switch & (trace.object == who))
        others = np.flatnonzero(~switch & (trace.event < Truth.HW_SAVE) & (trace.subject == who))
        for deed in (d for d in reloads if d.who == who):
            since = others[others < deed.at][-1:]
            if len(since) and np.count_nonzero((comes >= since[0]) & (comes < deed.at)) >= 2:
                found.add(deed)
    return found


def predictions(trace: Trace, rows: Rows, used: NDArray[np.int32]) -> Iterator[Deed]:
    """Yield what the rows used at each event do, as a function tracer on that kernel would show it."""
    deeds = [[t for entry in trace_of_row for t in _truth(*entry)] for trace_of_row in rows.traces]
    traps = "guest_run" in trace.header.observed  # only an emulator sees them
    for i in np.flatnonzero(used >= 0).tolist():
        if traps and trace.event[i] in (Event.GUEST_FP, Event.GUEST_SVE):
            yield Deed(int(trace.cpu[i]), Truth.GUEST_FP_TRAP, int(trace.subject[i]), i)
        for what in deeds[used[i]]:
            yield Deed(int(trace.cpu[i]), what, int(trace.subject[i]), i)


def _truth(function: str, op: int) -> Iterator[Truth]:
    if op == SAVE and function == "fpsimd_save":
        yield Truth.HW_SAVE
    elif op == SAVE_SVE and function == "fpsimd_save":
        yield Truth.HW_SVE_SAVE
    elif op == 0 and function in BY_NAME:
        yield BY_NAME[function]


def observations(trace: Trace) -> Iterator[Deed]:
    """Yield what the kernel was seen to do."""
    for i in np.flatnonzero(np.isin(trace.event, CHECKED)).tolist():
        yield Deed(int(trace.cpu[i]), Truth(int(trace.event[i])), int(trace.subject[i]), i)


def stretches(trace: Trace, cpu: int) -> NDArray[np.int64]:
    """Return the rows at which a new stretch between two thread switches of `cpu` begins.

    A vcpu_put made by the switch belongs to the new stretch: the tracer shows it after the switch's own line.
    """
    rows = np.flatnonzero((trace.cpu == cpu) & (trace.event < Truth.HW_SAVE))
    events, lines = trace.event[rows], trace.line[rows]
    switch = np.flatnonzero(events == Event.THREAD_SWITCH)
    put = (switch > 0) & (events[switch - 1] == Event.VCPU_PUT) & (lines[switch - 1] == lines[switch])
    return rows[np.where(put, switch - 1, switch)]


def differences(
    trace: Trace, predicted: list[Deed], observed: list[Deed]
) -> tuple[list[Deed], list[Deed], Difference | None]:
    """Return what was missed, what was extra, and the first difference, comparing stretch by stretch on each CPU."""
    missed: list[Deed] = []
    extra: list[Deed] = []
    first: Difference | None = None
    for cpu in sorted({d.cpu for d in predicted} | {d.cpu for d in observed}):
        p, o = ([d for d in side if d.cpu == cpu] for side in (predicted, observed))
        if [d.same() for d in p] == [d.same() for d in o]:
            continue
        starts = stretches(trace, cpu)
        for a, b in _stretch_pairs(starts, p, o):
            for i1, i2, j1, j2 in _unequal(a, b):
                extra += a[i1:i2]
                missed += b[j1:j2]
                at = min(d.at for d in a[i1:i2] + b[j1:j2])
                if first is None or at < first.at:
                    first = Difference(cpu, at, _names(trace, a[i1:i2]), _names(trace, b[j1:j2]))
    return missed, extra, first


def _stretch_pairs(starts: NDArray[np.int64], p: list[Deed], o: list[Deed]) -> Iterator[tuple[list[Deed], list[Deed]]]:
    groups: dict[int, tuple[list[Deed], list[Deed]]] = {}
    for side, deeds in enumerate((p, o)):
        for number, deed in zip(np.searchsorted(starts, [d.at for d in deeds], "right").tolist(), deeds, strict=True):
            groups.setdefault(number, ([], []))[side].append(deed)
    yield from (groups[number] for number in sorted(groups))


def _unequal(a: list[Deed], b: list[Deed]) -> Iterator[tuple[int, int, int, int]]:
    """Yield the parts of two sequences that are not equal: from and to in `a`, from and to in `b`.

    What is left of each without them is equal. They are aligned window by window, so that time grows with length alone.
    """
    sa, sb = [d.same() for d in a], [d.same() for d in b]
    i = j = 0
    while sa[i:] != sb[j:]:
        while sa[i : i + 1] == sb[j : j + 1]:  # a window that begins where they part is aligned best
            i, j = i + 1, j + 1
        matcher = difflib.SequenceMatcher(None, sa[i : i + WINDOW], sb[j : j + WINDOW], autojunk=False)
        codes = matcher.get_opcodes()
        if i + WINDOW < len(sa) or j + WINDOW < len(sb):  # what is near the end may be aligned otherwise with more
            near = [max(code[1:5:2] if code[0] == "equal" else code[2:5:2]) > WINDOW // 2 for code in codes[1:]]
            codes = codes[: 1 + [*near, True].index(True)]
        yield from ((i + i1, i + i2, j + j1, j + j2) for tag, i1, i2, j1, j2 in codes if tag != "equal")
        i, j = i + codes[-1][2], j + codes[-1][4]


def _names(trace: Trace, deeds: list[Deed]) -> list[str]:
    return [f"{d.what.name.lower()} ({trace.contexts.label(d.who)})" for d in deeds]


def _by_name(deeds: list[Deed]) -> Counter[str]:
    return Counter(d.what.name.lower() for d in deeds)


def around(trace: Trace, difference: Difference, *, rows: int = 6) -> list[str]:
    """Return the rows of the trace around a difference, on its CPU, one line of text each."""
    on_cpu = np.flatnonzero(trace.cpu == difference.cpu)
    k = int(np.searchsorted(on_cpu, difference.at))
    return [describe_row(trace, int(i), mark=int(i) == difference.at) for i in on_cpu[max(0, k - rows) : k + rows]]


def describe_row(trace: Trace, i: int, *, mark: bool = False) -> str:
    """Return one row of a trace as text: line, time in seconds, CPU, event, who."""
    e = int(trace.event[i])
    name = (Truth(e) if e >= Truth.HW_SAVE else Event(e)).name.lower()
    who = trace.contexts.label(int(trace.subject[i]))
    other = f" -> {trace.contexts.label(int(trace.object[i]))}" if trace.object[i] >= 0 else ""
    seen = "  " if e < Truth.HW_SAVE else "  | "
    arrow = ">" if mark else " "
    return f"{arrow} line {trace.line[i]:>7} {trace.time[i] / 1e9:12.6f} [{trace.cpu[i]:03}]{seen}{name} {who}{other}"
