"""What a capture needs on this machine, whether it is there, and the line that installs it."""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass

from fpstate.errors import FpstateError
from fpstate.lab.apt import KEYRING, cache_folder, fetched_kernel
from fpstate.lab.qemu import QEMU, qemu_version


@dataclass(frozen=True)
class Check:
    """One thing looked for; `needed`: a capture cannot do without."""

    what: str
    ok: bool
    found: str
    hint: str = ""
    needed: bool = True


def examine() -> list[Check]:
    """Return all checks, in the order in which they matter."""
    return [_qemu(), _kernel(), _plugin(), _compiler()]


def _qemu() -> Check:
    install = "apt-get install qemu-system-arm"
    try:
        version = qemu_version()
    except FpstateError as error:
        return Check(QEMU, False, str(error.given), install)
    number = tuple(int(part) if part.isdigit() else 0 for part in version.split()[0].split(".")[:2])
    return Check(QEMU, number >= (7, 2), version, f"{install}   (7.2 or newer, for semihosting from user mode)")


def _kernel() -> Check:
    what = "arm64 kernel"
    image = fetched_kernel()
    if image:
        return Check(what, True, str(image))
    lacking = [name for name in ("apt-get", "apt-cache", "dpkg-deb") if not shutil.which(name)]
    if not KEYRING.is_file():
        lacking.append(str(KEYRING))
    if lacking:
        hint = "apt-get install apt dpkg debian-archive-keyring   (or give --kernel IMAGE)"
        return Check(what, False, f"not fetched, and no {', '.join(lacking)} to fetch it with", hint)
    return Check(
        what, True, f"not fetched yet: apt puts it into {cache_folder()} at the first capture (60 MB, no root)"
    )


def _plugin() -> Check:
    machine = platform.machine()
    if machine == "x86_64":
        return Check("QEMU plugin", True, "built, in the package")
    found = shutil.which("cc")
    return Check("QEMU plugin", bool(found), found or f"to be built for {machine}, without cc", "apt-get install gcc")


def _compiler() -> Check:
    name = "aarch64-linux-gnu-gcc"
    found = shutil.which(name)
    what = "cross compiler (only to change the payload)"
    return Check(
        what, bool(found), found or "none", "apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross", False
    )
