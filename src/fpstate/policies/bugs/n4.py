"""N4: a guest's first FPU use shows the data registers of another guest (CVE-2015-8555, XSA-165)."""

from __future__ import annotations

from fpstate.policies.bugs import r3
from fpstate.policies.bugs.bug import Bug


class Faulty(r3.Faulty):
    """First use runs FNINIT, which resets control state only and leaves the data registers as they are."""

    name = "n4-faulty"


class Fixed(r3.Fixed):
    """First use loads a whole clean image."""

    name = "n4-fixed"


BUG = Bug(
    "N4", "first FPU use does not clear data registers", "81818b3f2775", Faulty, Fixed, "confidentiality", 11, tasks=2,
    events=("base",), note="The same fault as R3. vCPUs are threads here; they have no fork, exec or signals.",
)  # fmt: skip
