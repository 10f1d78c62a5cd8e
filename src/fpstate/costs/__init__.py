"""Cost profiles: how many cycles each operation takes on a named CPU, as data with sources."""

from __future__ import annotations

from fpstate.costs.profile import OPERATIONS, Operation, Profile, load_profile, profile_names

__all__ = ["OPERATIONS", "Operation", "Profile", "load_profile", "profile_names"]
