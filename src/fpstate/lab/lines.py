"""File and line of an address of a kernel, from the vmlinux that its build left, by binutils' addr2line."""

from __future__ import annotations

import mmap
import shutil
import subprocess
from pathlib import Path

from fpstate.lab.kernel import Kernel, banner

_TOOLS = ("addr2line", "llvm-addr2line", "aarch64-linux-gnu-addr2line")
_FROM_IMAGE = ("vmlinux", "../../../vmlinux")
"""Where it lies from the image: beside it, or at the top of a build tree with the image at arch/arm64/boot."""
_PACKAGED = Path("/usr/lib/debug/boot")
_SECONDS = 60


def line_of(kernel: Kernel, address: int) -> str:
    """Return FILE:LINE of an instruction; nothing if there is no debug information of this very build, or no tool."""
    vmlinux, tool = vmlinux_of(kernel), next(filter(None, map(shutil.which, _TOOLS)), None)
    if vmlinux is None or tool is None:
        return ""
    try:
        done = subprocess.run(
            [tool, "-e", str(vmlinux), f"{address:#x}"],
            capture_output=True, text=True, check=True, timeout=_SECONDS, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    found = done.stdout.split(" ")[0].strip()  # " (discriminator 2)" may follow
    return "" if found.startswith("?") or found.endswith(("?", ":0")) else found


def vmlinux_of(kernel: Kernel) -> Path | None:
    """Return the vmlinux of a kernel, of the same build: from its build tree, or its package of debug symbols."""
    image = Path(kernel.source).resolve()
    places = [image.parent / place for place in _FROM_IMAGE] + [_PACKAGED / f"vmlinux-{kernel.version}"]
    return next((place for place in places if place.is_file() and _is_of(place, kernel)), None)


def _is_of(vmlinux: Path, kernel: Kernel) -> bool:
    """Tell whether a vmlinux says of itself what the kernel says: version, builder, and when it was built."""
    try:
        with vmlinux.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return data.find(banner(kernel.image)) >= 0
    except (OSError, ValueError):
        return False
