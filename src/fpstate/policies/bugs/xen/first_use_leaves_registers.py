"""N4: a guest's first FPU use shows the data registers of another guest (CVE-2015-8555, XSA-165)."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.bugs.mips import msa_first_use_shows_others


class Faulty(msa_first_use_shows_others.Faulty):
    """First use runs FNINIT, which resets control state only and leaves the data registers as they are."""

    name = "n4-faulty"


class Fixed(msa_first_use_shows_others.Fixed):
    """First use loads a whole clean image."""

    name = "n4-fixed"


BUG = Bug(
    "N4", "first FPU use does not clear data registers", "81818b3f2775", Faulty, Fixed, "confidentiality", 11, tasks=2,
    events=("base",), note="The same fault as R3. vCPUs are threads here; they have no fork, exec or signals.",
)  # fmt: skip
