"""Registers of an emulated machine, asked for by gdb's remote protocol (QEMU's stub; gdb manual, appendix E)."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

from fpstate.errors import FpstateError


@contextmanager
def connected(path: Path, mode: Literal["rw", "rwb"], seconds: float) -> Iterator[Any]:
    """Yield a socket of QEMU's as a file; an answer may take so long."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(seconds)
        connection.connect(str(path))
        with connection.makefile(mode) as file:
            yield file


class _Stub:
    """One connection: a packet asked, a packet answered."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def ask(self, text: str) -> bytes:
        data = text.encode()
        self._file.write(b"$%s#%02x" % (data, sum(data) & 255))
        self._file.flush()
        while (byte := self._file.read(1)) != b"$":
            if not byte:
                raise FpstateError("QEMU's gdb stub closed the connection", expected="an answer")
        answer = b""
        while (byte := self._file.read(1)) not in (b"#", b""):
            answer += byte
        self._file.read(2)
        self._file.write(b"+")
        self._file.flush()
        return answer

    def document(self, name: str) -> str:
        whole = b""
        while True:
            part = self.ask(f"qXfer:features:read:{name}:{len(whole):x},800")
            whole += part[1:]
            if part[:1] != b"m":
                return whole.decode()


def registers(path: Path) -> dict[str, int]:
    """Return all registers that the stub at a socket knows, by name in capitals."""
    number, found = 0, {}
    with connected(path, "rwb", 30) as file:
        stub = _Stub(file)
        stub.ask("qSupported:xmlRegisters=aarch64")
        for part in re.findall(r'href="([^"]+)"', stub.document("target.xml")):
            for described in re.findall(r"<reg ([^>]*)>", stub.document(part)):
                about = dict(re.findall(r'(\w+)="([^"]*)"', described))
                number = int(about.get("regnum", number))
                answer = stub.ask(f"p{number:x}")
                if answer[:1] != b"E" and answer:
                    found[about["name"].upper()] = int.from_bytes(bytes.fromhex(answer.decode()), "little")
                number += 1
    return found
