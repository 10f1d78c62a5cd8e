"""Kernels by name: kernel:debian-6.1 and the like are Debian's, fetched with apt; kernel:PATH is one's own image."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

from fpstate.errors import FpstateError
from fpstate.policies.base import Policy

PREFIX = "kernel:"
CPU_MODEL = "neoverse-n1"
"""VHE, and no SVE: FPSIMD is what these rows are about."""


@functools.cache
def named_kernel(name: str) -> type[Policy]:
    """Return the policy that a kernel's code is; `name` is kernel:debian-VERSION or kernel:PATH.

    Raise FpstateError if there is no such kernel, or if it cannot be run.
    """
    from fpstate.kernel.policy import kernel_policy
    from fpstate.kernel.stage import Stage
    from fpstate.lab.apt import SUITES, fetch_kernel, is_name
    from fpstate.lab.dump import dump_of
    from fpstate.lab.kernel import read_kernel
    from fpstate.lab.qemu import Machine

    which = name.removeprefix(PREFIX)
    if is_name(which):
        path = fetch_kernel(_tell, which)
    else:
        path = Path(which)
        if not path.is_file():
            expected = f"the path of an arm64 Image, or one of {', '.join(SUITES)}"
            raise FpstateError(f"there is no kernel '{which}'", expected=expected)
    kernel = read_kernel(path)
    dump = dump_of(kernel, Machine(CPU_MODEL, 1, "vhe"), _tell)
    return kernel_policy(Stage(dump), name, f"Linux {kernel.version}")


def _tell(text: str) -> None:
    """Say on a terminal what takes its time."""
    if sys.stderr.isatty():
        sys.stderr.write(f"fpstate: {text}\n")
