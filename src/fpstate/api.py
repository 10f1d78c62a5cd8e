"""What the commands do, as functions: the same names and paths are taken, and the same results come back.

Nothing is imported before a function is called. Each result has `to_json()`, what the command prints with `--json`
less the name of its schema; `to_polars()`, a data frame; and a table in a notebook. What cannot be used is refused by
FpstateError, whose text is the line that the command prints.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

from fpstate.errors import FpstateError, unknown_name

if TYPE_CHECKING:
    from fpstate.check.run import Result
    from fpstate.costs import Profile
    from fpstate.paths.asked import ScopeGiven
    from fpstate.policies.base import Policy
    from fpstate.replay.told import Comparisons
    from fpstate.replay.validate import Validation
    from fpstate.traces.trace import Trace

    APolicy = str | type[Policy]
    ATrace = str | os.PathLike[str] | Trace

MAX_STATES = 100_000_000


def compare(
    traces: ATrace | Sequence[ATrace] | None = None,
    policies: APolicy | Sequence[APolicy] | None = None,
    *,
    costs: str | Profile = "altra-vhe",
    vl: int = 64,
) -> Comparisons:
    """Return what each policy would have cost on a trace: saves, loads, traps and cycles.

    `traces`: a file, the name of a bundled recording, a trace already read, or several; the bundled `smp4-mixed.vhe`
    if none. `policies`: by name (several by comma), by the id of a bug, as FILE.py:CLASS, or a class; all if none.
    `costs`: a profile, by name or as a TOML file. `vl`: bytes of one SVE register.

    Raise FpstateError for what cannot be used.
    """
    from fpstate.costs import Profile, load_profile
    from fpstate.named import policy_of, trace_of, words
    from fpstate.policies import catalogue
    from fpstate.replay.compare import refuse_length
    from fpstate.replay.told import comparisons
    from fpstate.traces.samples import DEFAULT_SAMPLE

    refuse_length(vl)
    profile = costs if isinstance(costs, Profile) else load_profile(costs)
    given = [policies] if isinstance(policies, str | type) else policies or list(catalogue.policies().values())
    asked = [policy_of(p) for each in given for p in (words(each) if isinstance(each, str) else [each])]
    several = traces if isinstance(traces, Sequence) and not isinstance(traces, str) else [traces or DEFAULT_SAMPLE]
    read = [trace_of(each) for each in several]
    return comparisons(read, asked, profile, vl=vl)


def check(
    policy: APolicy,
    *,
    properties: str | Sequence[str] = (),
    features: str | Sequence[str] = (),
    path: str | None = None,
    max_states: int = MAX_STATES,
    cores: int = 2,
    **scope: Unpack[ScopeGiven],
) -> Result:
    """Try every order of events in a scope: the policy holds, or the shortest path that breaks a property.

    `policy`: by name, by the id of a bug (its faulty side, in the scope where it shows), as FILE.py:CLASS, or a class.
    `properties`: all end-to-end ones if none. `features`: registers beside FPSIMD, and other features of the world.
    `path`: the code of a path, which is followed in place of a search. `max_states`: the verdict is "incomplete" beyond
    so many. `cores`: 1 or 2; the result is the same.

    The scope, of which what is not given is as in the policy's default: `cpus`, `tasks`, `vcpus`, `kthreads` (beside
    the idle ones), `events` (events or groups; "-name" takes one away), `boot` (what registers hold at the start:
    "unknown" or "initial"), `plain_vcpus` (so many of the vCPUs have V alone).

    Raise FpstateError for what cannot be used.
    """
    from fpstate.check.answer import answer
    from fpstate.named import policy_of, words
    from fpstate.paths.asked import ScopeGiven, asked_of

    for name in scope:
        if name not in ScopeGiven.__annotations__:
            raise unknown_name("part of a scope", name, ScopeGiven.__annotations__)
    if not 1 <= cores <= 2 or max_states < 1:
        given = f"{cores} cores" if not 1 <= cores <= 2 else f"{max_states} states"
        raise FpstateError(given, expected="1 or 2 cores, and at least 1 state")
    if path is not None and max_states != MAX_STATES:
        raise FpstateError("max_states has no effect with path, which searches nothing", expected="one of them")
    if scope.get("events") is not None:
        scope["events"] = words(scope["events"])
    name = policy if isinstance(policy, str) else ""
    asked = asked_of(name, policy_of(policy), words(features), words(properties), scope)
    return answer(asked, path=path, max_states=max_states, cores=cores)


def validate(trace: ATrace, policy: APolicy | None = None) -> Validation:
    """Predict from the events of a trace what the kernel did about FP state, and compare in order.

    `trace`: a file, the name of a bundled recording, or a trace already read; it must hold what the kernel did.
    `policy`: by name, by the id of a bug, as FILE.py:CLASS, or a class; that of the kernel recorded if none.

    Raise FpstateError for what cannot be used.
    """
    from fpstate.named import policy_of, trace_of
    from fpstate.replay import validate as engine

    asked = policy_of(policy) if policy is not None else None
    read = trace_of(trace)
    return engine.validate(read, asked or policy_of(engine.policy_of_kernel(read)))
