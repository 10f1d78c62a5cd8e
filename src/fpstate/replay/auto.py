"""Which kernel a trace is of, by what it did: every policy that describes a kernel is held against it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fpstate.policies.base import Policy
from fpstate.policies.catalogue import about, policies
from fpstate.replay.engine import features_in
from fpstate.replay.validate import Validation, policy_of_kernel, validate
from fpstate.traces.trace import Trace


@dataclass(frozen=True)
class Tried:
    """A policy that was held against a trace, which kernels it describes, and what came of it."""

    policy: type[Policy]
    kernels: str
    result: Validation

    @property
    def missed(self) -> int:
        """How many things the kernel did that were not predicted."""
        return sum(self.result.missed.values())

    @property
    def extra(self) -> int:
        """How many things were predicted that it did not do."""
        return sum(self.result.extra.values())

    def to_json(self) -> dict[str, Any]:
        """Return it as in docs/json.md."""
        about = {"policy": self.policy.name, "kernels": self.kernels, "exact": self.result.exact}
        return about | {"missed": self.missed, "extra": self.extra}


def try_all(trace: Trace, tell: Callable[[str], None] = lambda _: None) -> list[Tried]:
    """Hold each policy that describes a Linux kernel, and has the registers of `trace`, against it; nearest first.

    Of those that are equally near, that of the kernel's version comes first, then by name. `tell` is called with the
    name of each before it is tried. Raise FpstateError if the trace holds no ground truth.
    """
    features, own = set(features_in(trace)), policy_of_kernel(trace)
    tried = []
    for policy in policies().values():
        kernels = about(policy)["kernels"]
        if kernels.startswith("Linux") and features <= policy.supports:
            tell(policy.name)
            tried.append(Tried(policy, kernels, validate(trace, policy)))
    return sorted(tried, key=lambda each: (each.missed + each.extra, each.policy.name != own, each.policy.name))
