"""fpstate: a laboratory for FP/SIMD register switching in kernels and hypervisors.

    import fpstate

    fpstate.compare("contended.vhe", "linux-4.18,linux-6.14")
    fpstate.check("defer-to-put", cpus=1, tasks=1, vcpus=1)
    fpstate.validate("kneon.vhe")

do what the commands of these names do. Layout, data flowing left to right; nothing imports to its left:

    world     what events and operations mean, written once
    policies  how kernels decide, one file each; rows.py learns their decision tables
    traces    recordings of real kernels, read into columns
    replay    a trace under a policy: counts, cycles, bounds, validation
    costs     cycles per operation, as data with sources
    api       what the commands do, as functions
    cli       one short file per command
"""

import fpstate.check  # noqa: F401 - the room comes first: its name is the function's here, and imports still find it
from fpstate.api import check as check
from fpstate.api import compare as compare
from fpstate.api import validate as validate
from fpstate.errors import FpstateError as FpstateError

__all__ = ["FpstateError", "check", "compare", "validate"]
__version__ = "0.1.0"
