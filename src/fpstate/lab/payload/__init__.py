"""The programs of a capture, built from the C sources beside this file by `make payload`."""

from __future__ import annotations

import platform
import shutil
import subprocess
from functools import cache
from hashlib import sha256
from importlib import resources
from pathlib import Path

from fpstate.errors import FpstateError

FOLDER = Path(str(resources.files("fpstate.lab.payload")))
PLUGIN = "plugin-x86_64.so"
_CC = ["cc", "-O2", "-Wall", "-Wextra", "-fPIC", "-shared", "-fvisibility=hidden", "-s"]


@cache
def payload() -> bytes:
    """Return the arm64 program that is init, the VMM and all tasks."""
    return (FOLDER / "payload-arm64").read_bytes()


def plugin(cache_folder: Path) -> Path:
    """Return QEMU's plugin for this machine: the one that comes built, or one built with cc into the cache.

    Raise FpstateError on another machine without a C compiler.
    """
    if platform.machine() == "x86_64":
        return FOLDER / PLUGIN
    source = FOLDER / "plugin.c"
    built = cache_folder / f"plugin-{platform.machine()}-{sha256(source.read_bytes()).hexdigest()[:16]}.so"
    if not built.exists():
        if not shutil.which("cc"):
            raise FpstateError("there is no C compiler for QEMU's plugin", expected="cc", hint="apt-get install gcc")
        built.parent.mkdir(parents=True, exist_ok=True)
        part = built.with_suffix(".part")
        subprocess.run([*_CC, "-o", str(part), str(source)], check=True)
        part.rename(built)
    return built
