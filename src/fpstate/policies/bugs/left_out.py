"""Recorded bugs that the gallery does not have, and why."""

from __future__ import annotations

from fpstate.policies.bugs.bug import LeftOut

LEFT_OUT: tuple[LeftOut, ...] = ()
