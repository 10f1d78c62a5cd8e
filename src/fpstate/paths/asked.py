"""What is asked of a policy: in which scope it is looked at, for which properties, by default and as said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from fpstate.paths.properties import DEFAULT, TIMING
from fpstate.paths.scope import Scope, policy_scope, scope_of_pairs
from fpstate.policies.base import Policy, with_features
from fpstate.policies.catalogue import find_bug


class ScopeGiven(TypedDict, total=False):
    """What is said of a scope; what is left out, or None, is as in the policy's default scope."""

    cpus: int | None
    tasks: int | None
    vcpus: int | None
    kthreads: int | None  # beside the idle ones
    events: Sequence[str] | str | None  # events or groups; "-name" takes one away
    boot: str  # what registers hold at the start: "unknown" or "initial"
    plain_vcpus: int  # so many of the vCPUs have V alone


@dataclass(frozen=True)
class Asked:
    """A policy with its features, the scope and the properties to look at, and the scope it has by default."""

    policy: type[Policy]
    scope: Scope
    properties: tuple[str, ...]
    default: Scope


def asked_of(
    name: str, policy: type[Policy], features: Sequence[str], properties: Sequence[str], given: ScopeGiven
) -> Asked:
    """Return what is asked of `policy`, which was named `name`; FpstateError if it cannot be.

    If `name` is the id of a bug, the default scope is that where its fault shows, and its property is among those asked
    for. Without `properties` these are all end-to-end ones. Pairs of worlds have a smaller default scope.
    """
    bug = find_bug(name) if name else None
    policy = with_features(policy, features) if features else policy
    default = Scope(bug.cpus, bug.tasks, bug.vcpus, bug.kthreads, bug.events) if bug else policy_scope(policy)
    wanted = tuple(properties) or DEFAULT
    if TIMING in wanted:
        default = scope_of_pairs(default)
    if bug and not properties and bug.property not in DEFAULT:
        wanted = (*DEFAULT, bug.property)
    said = {field: value for field, value in given.items() if value is not None}
    known = vars(default) | {"boot": "unknown", "plain_vcpus": 0} | said
    return Asked(policy, Scope(**known | {"events": tuple(known["events"])}), wanted, default)
