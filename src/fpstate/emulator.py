"""Unicorn, which runs AArch64 code for the machine and for kernels' own code; an extra, imported when it is needed."""

from __future__ import annotations

from typing import Any

from fpstate.errors import FpstateError

INSTALL = "in the folder of fpstate's source: make demo, or pip install -e '.[run]'"


def unicorn() -> Any:
    """Return the unicorn package. Raise FpstateError, with what to do, when it is not installed."""
    try:
        import elftools  # noqa: F401
        import unicorn
    except ImportError:
        given = "this command needs unicorn and pyelftools, which are not installed"
        raise FpstateError(given, hint=INSTALL) from None
    if not unicorn.__version__.startswith("2.1.") or unicorn.__version__ < "2.1.4":
        raise FpstateError(f"unicorn {unicorn.__version__} is installed", expected="2.1.4", hint=INSTALL)
    return unicorn
