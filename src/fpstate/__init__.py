"""fpstate: a laboratory for FP/SIMD register switching in kernels and hypervisors.

Layout, data flowing left to right; nothing imports to its left:

    world     what events and operations mean, written once
    policies  how kernels decide, one file each; rows.py learns their decision tables
    traces    recordings of real kernels, read into columns
    replay    a trace under a policy: counts, cycles, bounds, validation
    costs     cycles per operation, as data with sources
    cli       one short file per command
"""

__version__ = "0.1.0"
