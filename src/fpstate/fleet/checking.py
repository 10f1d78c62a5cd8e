"""Policies in many scopes: a row for each verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from fpstate.check.answer import answer, refuse_together
from fpstate.check.run import MAX_STATES, Result
from fpstate.errors import FpstateError
from fpstate.fleet.digest import code_digest, digest, located, policy_digest, same_policy
from fpstate.fleet.job import Ask, Job, Row
from fpstate.fleet.kind import NUMBER, TEXT, YES, Kind
from fpstate.named import chosen
from fpstate.paths.asked import Asked, ScopeGiven, asked_of

SCOPE = {
    "cpus": NUMBER,
    "tasks": NUMBER,
    "vcpus": NUMBER,
    "kthreads": NUMBER,
    "events": TEXT,
    "boot": TEXT,
    "plain_vcpus": NUMBER,
}
LABEL = {"policy": TEXT, "features": TEXT, "properties": TEXT, **SCOPE}
ANSWER = {
    "verdict": TEXT,
    "property": TEXT,
    "states": NUMBER,
    "moves": NUMBER,
    "depth": NUMBER,
    "code": TEXT,
    "path_length": NUMBER,
    "wrong": TEXT,
    "blame": TEXT,
    "missing": TEXT,
    "smaller_than_default": YES,
}
Number = int | None


@dataclass(frozen=True)
class Scopes:
    """What scopes are made of: all combinations of these. None is a policy's own default."""

    cpus: Sequence[Number] = (None,)
    tasks: Sequence[Number] = (None,)
    vcpus: Sequence[Number] = (None,)
    kthreads: Sequence[Number] = (None,)
    features: Sequence[tuple[str, ...]] = ((),)
    rest: ScopeGiven | None = None

    def all(self) -> list[tuple[tuple[str, ...], ScopeGiven]]:
        """Return each combination: features, and what is said of the scope."""
        rest: ScopeGiven = self.rest or {}
        return [
            (features, {**rest, "cpus": cpus, "tasks": tasks, "vcpus": vcpus, "kthreads": kthreads})
            for features, cpus, tasks, vcpus, kthreads in product(
                self.features, self.cpus, self.tasks, self.vcpus, self.kthreads
            )
        ]


def jobs(
    policies: Sequence[str], scopes: Scopes, properties: Sequence[str], max_states: int = MAX_STATES
) -> tuple[list[Job], list[str]]:
    """Return a job for each policy in each scope, and why combinations are left out that cannot be.

    Raise FpstateError if there is no such policy or property, or if no combination can be.
    """
    refuse_together(properties)
    made: dict[tuple[Any, ...], Job] = {}
    left_out: list[FpstateError] = []
    for name in policies:
        what, policy = policy_digest(name), chosen(name)
        for features, given in scopes.all():
            try:
                asked = asked_of(name, policy, features, properties, given)
            except FpstateError as error:
                left_out.append(error)
                continue
            ask = _ask(name, what, asked, max_states)
            more = {
                "policy": located(name),
                "source": policy.source,
                "features": features,
                "properties": tuple(properties),
                "scope": given,
            }
            about = f"{name} at {asked.scope.counted()}"
            made.setdefault(ask.place, Job("check", about, (ask,), {**more, "max_states": max_states}, code_digest()))
    if not made:
        raise left_out[0]
    return list(made.values()), [str(error) for error in left_out]


def _ask(name: str, what: str, asked: Asked, max_states: int) -> Ask:
    scope = asdict(asked.scope) | {"events": ",".join(asked.scope.events)}
    about = {"policy": name, "features": ",".join(sorted(asked.policy.features))}
    label = {**about, "properties": ",".join(asked.properties), **{name: scope[name] for name in SCOPE}}
    return Ask(label, digest(code=code_digest(), **label | {"policy": what, "max_states": max_states}))


def prepare(job: Job) -> Any:
    """Return what a job is given: nothing is read for it."""
    return job.given


def answer_of(given: Any, ask: Ask) -> Row:
    """Search one scope, on one core: other workers have the others."""
    policy = same_policy(given["policy"], given["source"])
    asked = asked_of(ask.label["policy"], policy, given["features"], given["properties"], given["scope"])
    return _row(answer(asked, max_states=given["max_states"], cores=1))


def _row(result: Result) -> Row:
    path = result.path
    return {
        "verdict": result.verdict,
        "property": result.property or None,
        "states": result.states,
        "moves": result.moves,
        "depth": result.depth,
        "code": path.code if path else None,
        "path_length": len(path.steps) if path else None,
        "wrong": path.wrong if path else None,
        "blame": path.blame if path else None,
        "missing": ",".join(result.missing),
        "smaller_than_default": bool(result.default and result.scope.smaller_than(result.default)),
    }


KIND = Kind("check", LABEL, ANSWER, prepare, answer_of, ("the search",))
