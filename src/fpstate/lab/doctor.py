"""What a capture needs on this machine, whether it is there, and the line that installs it."""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass

from fpstate.errors import FpstateError
from fpstate.lab.apt import KEYRING, cache_folder, fetched_kernel
from fpstate.lab.qemu import QEMU, has_sme, qemu_version, version_number


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
    return [_qemu(), _kernel(), _plugin(), _compiler(), _sme()]


def _qemu() -> Check:
    install = "apt-get install qemu-system-arm"
    try:
        version = qemu_version()
    except FpstateError as error:
        return Check(QEMU, False, str(error.given), install)
    return Check(
        QEMU, version_number() >= (7, 2), version, f"{install}   (7.2 or newer, for semihosting from user mode)"
    )


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


_SME2_SINCE = (11, 1)
"""A version of QEMU whose documentation lists FEAT_SME2 and FEAT_FPMR; that of 10.0 lists FEAT_SME alone."""


def _sme() -> Check:
    """Return what the installed QEMU has of the registers that no scenario uses: this says nothing of a capture."""
    what = "SME, SME2, FPMR (no scenario uses them, no capture was tried)"
    hint = "QEMU 11.1 has all three, 10.0 SME alone; CONFIG_ARM64_SME: debian-7.3"
    try:
        there = {"SME": has_sme(), "SME2 and FPMR": version_number() >= _SME2_SINCE}
        version = qemu_version().split()[0]
    except FpstateError as error:
        return Check(what, False, str(error.given), hint, False)
    found = " and ".join(name for name, has in there.items() if has) or "none"
    return Check(what, False, f"QEMU {version} has {found}", hint, False)
