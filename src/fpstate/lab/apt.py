"""The arm64 kernel package of Debian, fetched with apt into a folder of ours: no root, nothing of the system's changed.

apt checks the archive's signature with Debian's own keyring and every file against the signed checksums.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fpstate.errors import FpstateError, unknown_name

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SUITES = {
    "debian-5.10": "bullseye", "debian-6.1": "bookworm", "debian-6.12": "trixie", "debian-7.2": "sid",
    "debian-7.3": "trixie-backports", "debian-6.12-rt": "trixie", "debian-7.2-rt": "sid",
    "debian-7.3-rt": "trixie-backports",
}  # fmt: skip
"""Kernels by name, and the suite of Debian whose current kernel each is, with all its stable updates. Those that end in
-rt are built with PREEMPT_RT; Debian's older ones of that kind have no KVM."""
_RT = "-rt"
_UPDATED = "bookworm", "trixie"
"""Suites whose stable updates come from an archive of their own; bullseye's is no longer with the others."""
DEFAULT = "debian-6.1"
_META_PACKAGE = "linux-image{rt}-arm64"
"""Depends on the suite's current kernel."""

_SOURCES = """\
deb [arch=arm64 signed-by={keyring}] http://deb.debian.org/debian {suite} main
"""
_IMAGES = "boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz"  # the second since 7.2
_PARTS = "linux-base-", "linux-binary-", "linux-modules-"
"""Since 7.2 config, image and modules of a kernel lie in packages of their own, on which the kernel's depends."""
_UPDATES = "deb [arch=arm64 signed-by={keyring}] http://deb.debian.org/debian-security {suite}-security main\n"

Tell = Callable[[str], None]


def cache_folder() -> Path:
    """Return where kernels and their symbols are kept: $XDG_CACHE_HOME/fpstate/lab, or below ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fpstate" / "lab"


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder to fill, which takes the place of `target` if all goes well, and is gone if not."""
    part = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def fetched_kernel(name: str = DEFAULT) -> Path | None:
    """Return the image of the newest kernel of a name fetched before, or None."""
    version, rt = _of(name)
    folders = (cache_folder() / "kernels").glob(f"linux-image-{version}.*{rt}-arm64")
    images = [i for folder in folders if rt or _RT not in folder.name for place in _IMAGES for i in folder.glob(place)]
    return max(images, key=lambda path: path.stat().st_mtime, default=None)


def _of(name: str) -> tuple[str, str]:
    """Return the version in a kernel's name, and -rt if it is one of those."""
    version = name.removeprefix("debian-")
    return version.removesuffix(_RT), _RT if version.endswith(_RT) else ""


def is_name(which: str) -> bool:
    """Tell whether a kernel is asked for by name, right or wrong, and not by the path of its image."""
    return which in SUITES or (which.startswith("debian-") and not Path(which).exists())


def check_name(name: str) -> None:
    """Raise FpstateError unless there is a kernel of that name."""
    if name not in SUITES:
        raise unknown_name("kernel of Debian's", name, SUITES)


def fetch_kernel(tell: Tell, name: str = DEFAULT) -> Path:
    """Fetch one of Debian's arm64 kernels unless that was done, and return its image; modules and config lie beside it.

    Raise FpstateError if there is none of that name, or if apt or the network cannot.
    """
    check_name(name)
    found = fetched_kernel(name)
    if found:
        return found
    tell(f"fetching Debian's arm64 kernel {name.removeprefix('debian-')} (60 MB, once)")
    folder = cache_folder()
    apt = _Apt(folder / "apt" / SUITES[name], SUITES[name])
    apt.run("apt-get", "update")
    version, rt = _of(name)
    package = apt.kernel_package(_META_PACKAGE.format(rt=rt))
    if not package.startswith(f"linux-image-{version}."):
        given = f"Debian's {SUITES[name]} has {package} now"
        raise FpstateError(given, expected=f"a kernel {version}", hint=_OTHERWISE)
    for old in apt.folder.glob("*.deb"):
        old.unlink()
    apt.run("apt-get", "download", *apt.parts(package))
    target = folder / "kernels" / package
    with new_folder(target) as parts:
        for archive in apt.folder.glob("*.deb"):
            _run(["dpkg-deb", "-x", str(archive), str(parts)], folder)
            archive.unlink()
    image = fetched_kernel(name)
    if image is None:
        raise FpstateError(f"the package {package} holds no kernel", expected="boot/vmlinuz-*", where=str(target))
    return image


class _Apt:
    """apt for architecture arm64 with its own lists, cache and (empty) package state."""

    def __init__(self, folder: Path, suite: str) -> None:
        self.folder = folder
        for part in ("state/lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        lines = _SOURCES + _UPDATES if suite in _UPDATED else _SOURCES
        (folder / "sources.list").write_text(lines.format(keyring=KEYRING, suite=suite))
        (folder / "status").write_text("")
        settings = {
            "APT::Architecture": "arm64",
            "APT::Architectures": "arm64",
            "APT::Sandbox::User": "",
            "APT::Update::Error-Mode": "any",
            "Acquire::Languages": "none",
            "Dir::State": folder / "state",
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder / "cache",
            "Dir::Etc::sourcelist": folder / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
        }
        self._options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]

    def run(self, program: str, *words: str) -> str:
        return _run([program, "-q", *self._options, *words], self.folder)

    def kernel_package(self, meta: str) -> str:
        """Return the name of the package of the suite's current kernel, which a package `meta` depends on."""
        found = self._needed(meta, ("linux-image-",))
        if found:
            return found[0]
        raise FpstateError(f"apt knows no kernel behind {meta}", expected="a package linux-image-*-arm64")

    def parts(self, package: str) -> list[str]:
        """Return the packages that hold a kernel's image, config and modules."""
        version = package.removeprefix("linux-image-")
        return [package, *(part for part in self._needed(package, _PARTS) if part.endswith(version))]

    def _needed(self, package: str, beginnings: tuple[str, ...]) -> list[str]:
        """Return the packages with a name that begins so which a package depends on."""
        pairs = [line.strip().partition(" ") for line in self.run("apt-cache", "depends", package).splitlines()]
        return [name for kind, _, name in pairs if kind == "Depends:" and name.startswith(beginnings)]


def _run(words: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise FpstateError(f"there is no {words[0]}", expected="Debian's apt and dpkg", hint=_OTHERWISE) from None
    if done.returncode:
        last = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()][-1:]
        raise FpstateError(
            f"{words[0]} failed: {' '.join(last) or done.returncode}", expected="the Debian archive", hint=_OTHERWISE
        )
    return done.stdout


_OTHERWISE = "or give a kernel of your own: --kernel IMAGE"
