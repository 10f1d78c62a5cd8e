"""A small writer of trace.dat (version 6), so that reading one can be tested where nothing can be recorded."""

from __future__ import annotations

import re
import struct
from pathlib import Path

_PAGE = 4096
_HEADER = 16
_COMMON = """format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

"""
_HEADER_PAGE = f"""\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;
\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;
\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;
\tfield: char data;\toffset:16;\tsize:{_PAGE - _HEADER};\tsigned:0;
"""
_HEADER_EVENT = """# compressed entry header
\ttype_len    :    5 bits
\ttime_delta  :   27 bits
\tarray       :   32 bits

\tpadding     : type == 29
\ttime_extend : type == 30
\ttime_stamp : type == 31
\tdata max type_len  == 28
"""
_SLEEPS = {"S": 1, "D": 2, "T": 4, "X": 0x10, "Z": 0x20, "P": 0x40, "I": 0x80}
_STATES = ", ".join(f'{{ 0x{bit:04x}, "{letter}" }}' for letter, bit in _SLEEPS.items())
_STATE_BITS = {"R": 0, "R+": 0x100} | _SLEEPS


def _fields(*fields: tuple[str, str, int]) -> str:
    text = ""
    offset = 8
    for kind, name, size in fields:
        text += f"\tfield:{kind} {name};\toffset:{offset};\tsize:{size};\tsigned:{int(kind in ('int', 'long'))};\n"
        offset += size
    return text + "\n"


_SWITCH = _fields(
    ("char", "prev_comm[16]", 16),
    ("int", "prev_pid", 4),
    ("int", "prev_prio", 4),
    ("long", "prev_state", 8),
    ("char", "next_comm[16]", 16),
    ("int", "next_pid", 4),
    ("int", "next_prio", 4),
) + (
    'print fmt: "prev_comm=%s prev_pid=%d prev_prio=%d prev_state=%s%s ==> next_comm=%s next_pid=%d next_prio=%d", '
    "REC->prev_comm, REC->prev_pid, REC->prev_prio, (REC->prev_state & 0xff) ? __print_flags(REC->prev_state & 0xff, "
    f'"|", {_STATES}) : "R", REC->prev_state & 0x100 ? "+" : "", REC->next_comm, REC->next_pid, REC->next_prio\n'
)
_ARGS = ", ".join(f"REC->args[{i}]" for i in range(6))
_FORMATS = {
    ("raw_syscalls", "sys_enter", 101): _fields(("long", "id", 8), ("unsigned long", "args[6]", 48))
    + f'print fmt: "NR %ld (%lx, %lx, %lx, %lx, %lx, %lx)", REC->id, {_ARGS}\n',
    ("raw_syscalls", "sys_exit", 102): _fields(("long", "id", 8), ("long", "ret", 8))
    + 'print fmt: "NR %ld = %ld", REC->id, REC->ret\n',
    ("sched", "sched_switch", 103): _SWITCH,
    ("kvm", "kvm_entry", 104): _fields(("unsigned long", "vcpu_pc", 8)) + 'print fmt: "PC: 0x%016lx", REC->vcpu_pc\n',
    ("kvm", "kvm_exit", 105): _fields(("unsigned long", "vcpu_pc", 8))
    + 'print fmt: "TRAP: PC: 0x%016lx", REC->vcpu_pc\n',
    ("kvm", "kvm_userspace_exit", 106): _fields(("unsigned long", "reason", 8))
    + 'print fmt: "reason %lu", REC->reason\n',
    ("kprobes", "hw_save", 107): _fields(("unsigned long", "__probe_ip", 8)) + 'print fmt: "(%lx)", REC->__probe_ip\n',
}
_FUNCTION = _fields(("unsigned long", "ip", 8), ("unsigned long", "parent_ip", 8)) + (
    'print fmt: " %ps <-- %ps", (void *)REC->ip, (void *)REC->parent_ip\n'
)
_LINE = re.compile(r" *(.+)-(\d+) +\[(\d+)\] (\S+) +(\d+)\.(\d+): (\w+)(?:: (.*)| <-(\w+))")
_SWITCHED = re.compile(r"prev_comm=(.*) prev_pid=(\d+) .* prev_state=(\S+) ==> next_comm=(.*) next_pid=(\d+) ")


class _Symbols:
    """Made-up addresses of functions."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def address(self, name: str) -> int:
        return self._known.setdefault(name, 0xFFFF800008000000 + 0x1000 * len(self._known))

    def text(self) -> bytes:
        return "".join(f"{address:016x} T {name}\n" for name, address in self._known.items()).encode()


def _payload(event: str, rest: str | None, caller: str | None, symbols: _Symbols) -> tuple[int, bytes] | None:
    """Return (type, fields) of an event, or None for one the writer does not know."""
    if caller is not None:
        return 1, struct.pack("<QQ", symbols.address(event), symbols.address(caller))
    assert rest is not None
    if event == "sched_switch" and (m := _SWITCHED.match(rest)):
        prev = struct.pack("<16siiq", m[1].encode(), int(m[2]), 120, _STATE_BITS[m[3]])
        return 103, prev + struct.pack("<16sii", m[4].encode(), int(m[5]), 120)
    if event == "sys_enter":
        number, args = re.match(r"NR (-?\d+) \((.*)\)", rest).groups()  # type: ignore[union-attr]
        return 101, struct.pack("<q6Q", int(number), *(int(arg, 16) for arg in args.split(", ")))
    if event == "sys_exit":
        number, _, value = rest.removeprefix("NR ").split()
        return 102, struct.pack("<qq", int(number), int(value))
    number = {"kvm_entry": 104, "kvm_exit": 105, "kvm_userspace_exit": 106, "hw_save": 107}.get(event)
    return (number, struct.pack("<Q", 1)) if number else None


def _record(line: re.Match[str], symbols: _Symbols) -> bytes | None:
    payload = _payload(line[7], line[8], line[9], symbols)
    if payload is None:
        return None
    flags = (
        (0x01 if line[4][0] in "dD" else 0) | (0x04 if line[4][1] == "N" else 0) | (0x10 if line[4][2] == "s" else 0)
    )
    return struct.pack("<HBBi", payload[0], flags, 0, int(line[2])) + payload[1]


class _Cpu:
    """The ring buffer pages of one CPU."""

    def __init__(self) -> None:
        self.pages: list[bytes] = []
        self._data = b""
        self._start = self._last = 0

    def add(self, time: int, record: bytes) -> None:
        if not self._data or len(self._data) + len(record) + 12 > _PAGE - _HEADER or time - self._last >= 1 << 27:
            self.flush()
            self._start = self._last = time
        self._data += struct.pack("<I", len(record) // 4 | (time - self._last) << 5) + record
        self._last = time

    def flush(self) -> None:
        if self._data:
            page = struct.pack("<QQ", self._start, len(self._data)) + self._data
            self.pages.append(page.ljust(_PAGE, b"\0"))
        self._data = b""


def _sized(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def _event(name: str, number: int, text: str) -> bytes:
    return _sized(f"name: {name}\nID: {number}\n{_COMMON}{text}")


def _head(symbols: _Symbols, comms: dict[int, str], cpus: int) -> bytes:
    raw = b"\x17\x08\x44tracing6\0" + bytes([0, 8]) + struct.pack("<I", _PAGE)
    raw += b"header_page\0" + _sized(_HEADER_PAGE) + b"header_event\0" + _sized(_HEADER_EVENT)
    raw += struct.pack("<I", 1) + _event("function", 1, _FUNCTION)
    systems = sorted({system for system, _, _ in _FORMATS})
    raw += struct.pack("<I", len(systems))
    for system in systems:
        events = [(name, number, text) for (s, name, number), text in _FORMATS.items() if s == system]
        raw += system.encode() + b"\0" + struct.pack("<I", len(events)) + b"".join(_event(*event) for event in events)
    kallsyms = symbols.text()
    raw += struct.pack("<I", len(kallsyms)) + kallsyms + struct.pack("<I", 0)
    raw += _sized("".join(f"{tid} {comm}\n" for tid, comm in comms.items()))
    return raw + struct.pack("<I", cpus) + b"options  \0" + struct.pack("<H", 0) + b"flyrecord\0"


def make_dat(text: str, path: Path) -> list[str]:
    """Write the lines of ftrace text that the writer knows as a trace.dat; return them."""
    symbols = _Symbols()
    comms: dict[int, str] = {}
    cpus: dict[int, _Cpu] = {}
    kept = []
    for raw in text.splitlines():
        line = _LINE.match(raw)
        record = _record(line, symbols) if line else None
        if line and record:
            comms[int(line[2])] = line[1]
            cpus.setdefault(int(line[3]), _Cpu()).add(int(line[5]) * 10**9 + int(line[6]) * 1000, record)
            kept.append(raw)
    for cpu in cpus.values():
        cpu.flush()
    _write(path, symbols, comms, [cpus[c].pages if c in cpus else [] for c in range(max(cpus) + 1)])
    return kept


def _write(path: Path, symbols: _Symbols, comms: dict[int, str], pages: list[list[bytes]]) -> None:
    head = _head(symbols, comms, len(pages))
    place = -(-(len(head) + 16 * len(pages)) // _PAGE) * _PAGE
    table = b""
    for cpu in pages:
        table += struct.pack("<QQ", place, len(cpu) * _PAGE)
        place += len(cpu) * _PAGE
    with path.open("wb") as file:
        file.write((head + table).ljust(-(-(len(head) + len(table)) // _PAGE) * _PAGE, b"\0"))
        for cpu in pages:
            file.writelines(cpu)
