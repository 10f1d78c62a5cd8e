"""One check from end to end: policy and scope in, verdict and counterexample out."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from fpstate.check.packing import Plan, make_plan
from fpstate.check.path import Path, follow, rebuild
from fpstate.check.properties import DEFAULT, bits_of, first_name
from fpstate.check.scope import Scope, build, kinds_of
from fpstate.check.search import FALSE_NATIVE, USER_SVE_TRAP_WRONG, Found, Progress, Search
from fpstate.decisions import all_decisions
from fpstate.errors import FpstateError
from fpstate.policies.base import Policy
from fpstate.rows import MAX_POINTS, Rows, features_of
from fpstate.world import order as O
from fpstate.world import step as S
from fpstate.world.events import PARTICIPANTS

HOLDS, VIOLATED, NOT_REACHED, INCOMPLETE = "holds", "violated", "not reached", "incomplete"
MAX_STATES = 100_000_000


@dataclass(frozen=True)
class Result:
    """The verdict of a check. `path` is there when it was violated; `missing` names events that never happened."""

    policy: str
    verdict: str
    property: str
    scope: Scope
    states: int
    moves: int
    depth: int
    seconds: float
    path: Path | None = None
    missing: tuple[str, ...] = ()
    features: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the result as in docs/json.md."""
        known = {k: v for k, v in vars(self).items() if k not in ("path", "missing", "scope", "features")}
        path = self.path
        steps = [asdict(s) for s in path.steps] if path else []
        wrong = {"blame": path.blame, "code": path.code} if path else {"blame": "", "code": ""}
        known["features"] = list(self.features)
        return known | {"scope": asdict(self.scope), "missing": list(self.missing), "path": steps} | wrong


def check(
    policy: type[Policy],
    scope: Scope,
    *,
    properties: Iterable[str] = DEFAULT,
    max_states: int = MAX_STATES,
    cores: int = 2,
    fold: bool = True,
    progress: Progress = lambda *_: None,
) -> Result:
    """Search every order of events of `scope` for one that breaks one of `properties` under `policy`.

    `fold`: treat worlds that differ only in the names of CPUs, tasks and vCPUs as one.
    """
    wanted = bits_of(properties)
    rows = Rows(policy, interruptible=True)
    z, world = build(scope, rows)
    if wanted & FALSE_NATIVE and not z[O.Z_FOREIGN]:
        given = f"'false-native' asks about a task's flag 'foreign', and policy '{policy.name}' has none"
        raise FpstateError(given, expected="another property; --property list shows them")
    if wanted & USER_SVE_TRAP_WRONG and not z[O.Z_TIF_SVE]:
        given = f"'user-sve-trap' asks about a task's flag 'tif_sve', and policy '{policy.name}' has none in this world"
        raise FpstateError(given, expected="--features sve with a policy that supports it")
    plan = plan_for(scope, rows, fold=fold)
    began = time.perf_counter()
    found = Search(rows, plan, z, world, wanted=wanted, cores=cores).run(max_states, progress)
    seconds = time.perf_counter() - began
    path = rebuild(found, rows, plan, z, world, scope) if found.violation else None
    missing = () if path else _never_happened(found, scope)
    verdict = VIOLATED if path else INCOMPLETE if not found.complete else NOT_REACHED if missing else HOLDS
    name = first_name(found.violation[2]) if found.violation else ""
    had = tuple(sorted(policy.features))
    return Result(
        policy.name, verdict, name, scope, found.states, found.moves, found.depth, seconds, path, missing, had
    )


def replay_path(policy: type[Policy], scope: Scope, code: str, *, properties: Iterable[str] = DEFAULT) -> Result:
    """Follow a path by its code (`0/3/1`); the verdict is "violated", or "not reached": one path shows no more."""
    wanted = bits_of(properties)
    rows = Rows(policy, interruptible=True)
    z, world = build(scope, rows)
    began = time.perf_counter()
    path = follow(code, rows, plan_for(scope, rows, fold=False), z, world, scope, wanted)
    verdict, name = (VIOLATED, first_name(path.broken)) if path.broken else (NOT_REACHED, "")
    n = len(path.steps)
    seconds = time.perf_counter() - began
    return Result(
        policy.name, verdict, name, scope, n + 1, n, n, seconds, path, features=tuple(sorted(policy.features))
    )


def plan_for(scope: Scope, rows: Rows, *, fold: bool) -> Plan:
    """Return the packing plan for a policy: only what its handlers can touch takes room."""
    try:
        decisions = list(all_decisions(rows))
    except FpstateError:  # some view that never comes up asks for the impossible; then all may be touched
        decisions = []
    targets = {(op, target) for d in decisions for op, target, _ in d.ops}
    pointers = {code for d in decisions for (role, _), code in d.writes.items() if role == "cpu"}
    kernel_names = {S.TASK_KERNEL, S.SECOND_KERNEL}
    return make_plan(
        scope,
        rows.fields,
        kernel=not decisions or bool({t for _, t in targets} & kernel_names) or bool(pointers & kernel_names),
        stash=not decisions or any(t == S.STASH for _, t in targets),
        clear=not decisions or any(op == S.CLEAR for op, _ in targets),
        points=MAX_POINTS if any(_is_interruptible(rows.handler(e)) for e in PARTICIPANTS) else 0,
        fold=fold,
        features=features_of(rows.policy),
    )


def _is_interruptible(handler: Callable[..., object] | None) -> bool:
    return handler is not None and inspect.isgeneratorfunction(inspect.unwrap(handler))


def _never_happened(found: Found, scope: Scope) -> tuple[str, ...]:
    """Return the uses that never came about: a search that saw none has shown nothing."""
    missing = []
    if not found.kinds[O.USER_FP]:
        missing.append("user_fp")
    if scope.vcpus and not found.kinds[O.GUEST_FP] and kinds_of(scope.events) >> O.GUEST_FP & 1:
        missing.append("guest_fp")
    return tuple(missing)
