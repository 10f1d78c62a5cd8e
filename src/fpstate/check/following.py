"""Whose values to follow, where those of all contexts at once make too many states.

What a policy does does not hang on values, and each thing that can be wrong about values is about one reader and one
class of registers. So where many states are reached they are looked at one by one: in each search the values of one
class of one context are known, and all others are taken for right. One context of each kind is enough, since names mean
nothing. A fork from an image that is not the latest, and a change of part of an SVE form that is not, mix what is
followed with what is not: there such a search stops, as if that were wrong.

So what holds in all of these searches holds. What one of them finds is walked again with all values known.
"""

from __future__ import annotations

from fpstate.check.parts import classes_of
from fpstate.paths.order import TAKE_OVER, Bounds
from fpstate.paths.properties import DEFAULT, OF_STATES, bits_of
from fpstate.paths.scope import Scope, names_of
from fpstate.world.state import FPEXC, FPMR, ZA, ZCR, V, Z, following

NAMES = {V: "V", Z: "Z", ZCR: "the vector length", ZA: "ZA", FPMR: "FPMR", FPEXC: "FPEXC"}


def is_worth_it(features: int, bounds: Bounds, wanted: int) -> bool:
    """Tell whether that makes fewer states, properties are about one reader each, and no value may change its owner.

    With V alone the values of contexts follow from what policies keep books of, mostly, and symmetry is lost. All that
    may be wrong with a value must be looked for: what is would not be known else, and how a row goes on after it.
    """
    all_wanted = not bits_of(DEFAULT) & ~wanted and not wanted & OF_STATES
    return bool(features and all_wanted and not bounds.events >> TAKE_OVER & 1)


def each(scope: Scope, features: int) -> dict[str, int]:
    """Return what is to be followed in a scope: each as `World.followed`, by what it is called."""
    classes, names = classes_of(features), names_of(scope)
    kthread = scope.cpus + scope.tasks
    vcpu = kthread + scope.kthreads
    found = [(scope.cpus, "task"), *([(vcpu, "vcpu")] if scope.vcpus else [])]
    if 0 < scope.plain_vcpus < scope.vcpus:
        found.append((vcpu + scope.vcpus - 1, "vcpu"))
    whose = [(k, x) for x, kind in found for k in classes[kind]]
    whose += [(V, x) for x in (0, *([kthread] if scope.kthreads else []))]  # kernel-mode values
    return {f"{NAMES[k]} of {names[x]}": following(k, x) for k, x in whose}
