"""The initramfs of a capture: a cpio archive in the kernel's `newc` form (Documentation/driver-api/early-userspace)."""

from __future__ import annotations

from collections.abc import Mapping

_DIRECTORY, _PROGRAM, _FILE = 0o40755, 0o100755, 0o100644
_FOLDERS = ("dev", "proc", "sys", "modules")


def initramfs(payload: bytes, plan: str, modules: Mapping[str, bytes]) -> bytes:
    """Return an archive with the payload as /init, its plan, and kernel modules by file name."""
    out = bytearray()
    for folder in _FOLDERS:
        _add(out, folder, _DIRECTORY, b"")
    _add(out, "init", _PROGRAM, payload)
    _add(out, "payload", _PROGRAM, payload)
    _add(out, "plan", _FILE, plan.encode())
    for name, content in modules.items():
        _add(out, f"modules/{name}", _FILE, content)
    _add(out, "TRAILER!!!", 0, b"")
    return bytes(out)


def _add(out: bytearray, name: str, mode: int, content: bytes) -> None:
    title = name.encode() + b"\0"
    inode = len(out) + 1  # any number that no other entry has
    fields = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(title), 0)
    out += b"070701" + b"".join(b"%08X" % field for field in fields) + title
    out += bytes(-len(out) % 4)
    out += content
    out += bytes(-len(out) % 4)
