"""A small writer of trace.dat, so that reading one can be tested where nothing can be recorded.

It writes versions 6 and 7, compressed or not, in either byte order, with buffers, lost events, all kinds of time stamps
and discarded records, from the lines of ftrace text that it knows.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

_PAGE = 4096
_HEADER = 16
_CHUNK = 2 * _PAGE


@dataclass(frozen=True)
class Form:
    """How a file is written."""

    version: int = 6
    compression: str = ""  # version 7: "", "zlib" or "zstd"
    big: bool = False
    stamps: str = "delta"  # "delta", "extend" (a time extend before each record) or "absolute"
    discarded: bool = False  # a discarded record after each
    options: tuple[tuple[int, bytes], ...] = ()
    buffer_of: Callable[[str], str] = field(default=lambda line: "")  # the buffer that a line goes to, "" the first

    @property
    def order(self) -> str:
        """Return the byte order as `struct` has it."""
        return ">" if self.big else "<"


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
    ("sched", "sched_process_fork", 108): _fields(
        ("__data_loc char[]", "parent_comm", 4),
        ("int", "parent_pid", 4),
        ("__data_loc char[]", "child_comm", 4),
        ("int", "child_pid", 4),
    )
    + 'print fmt: "comm=%s pid=%d child_comm=%s child_pid=%d", __get_str(parent_comm), REC->parent_pid, '
    "__get_str(child_comm), REC->child_pid\n",
    ("sched", "sched_process_exec", 109): _fields(
        ("__data_loc char[]", "filename", 4), ("int", "pid", 4), ("int", "old_pid", 4)
    )
    + 'print fmt: "filename=%s pid=%d old_pid=%d", __get_str(filename), REC->pid, REC->old_pid\n',
    ("sched", "sched_process_exit", 110): _fields(("char", "comm[16]", 16), ("int", "pid", 4), ("int", "prio", 4))
    + 'print fmt: "comm=%s pid=%d prio=%d", REC->comm, REC->pid, REC->prio\n',
    ("signal", "signal_deliver", 111): _fields(
        ("int", "sig", 4),
        ("int", "errno", 4),
        ("int", "code", 4),
        ("int", "pad", 4),
        ("unsigned long", "sa_handler", 8),
        ("unsigned long", "sa_flags", 8),
    )
    + 'print fmt: "sig=%d errno=%d code=%d sa_handler=%lx sa_flags=%lx", REC->sig, REC->errno, REC->code, '
    "REC->sa_handler, REC->sa_flags\n",
    ("cpuhp", "cpuhp_enter", 112): _fields(
        ("unsigned int", "cpu", 4), ("int", "target", 4), ("int", "idx", 4), ("int", "pad", 4), ("void *", "fun", 8)
    )
    + 'print fmt: "cpu: %04u target: %3d step: %3d (%ps)", REC->cpu, REC->target, REC->idx, REC->fun\n',
    ("kprobes", "hw_save", 107): _fields(("unsigned long", "__probe_ip", 8)) + 'print fmt: "(%lx)", REC->__probe_ip\n',
}
_CALLS = {
    "sys_enter_ioctl": (120, ("fd", "cmd", "arg")),
    "sys_enter_ptrace": (121, ("request", "pid", "addr")),
    "sys_enter_rt_sigreturn": (122, ("a", "b", "c")),
    "sys_enter_other": (123, ("a", "b", "c")),
    "sys_exit_ioctl": (124, ("ret",)),
    "sys_exit_other": (125, ("ret",)),
    "sys_enter_prctl": (126, ("option", "arg2", "arg3")),
}
for _name, (_number, _keys) in _CALLS.items():
    _FORMATS["syscalls", _name, _number] = _fields(
        ("int", "__syscall_nr", 4), ("int", "pad", 4), *(("unsigned long", key, 8) for key in _keys)
    ) + 'print fmt: "{}", {}\n'.format(
        ", ".join(f"{key}: 0x%08lx" if len(_keys) > 1 else "0x%lx" for key in _keys),
        ", ".join(f"((unsigned long)(REC->{key}))" for key in _keys),
    )
_FUNCTION = _fields(("unsigned long", "ip", 8), ("unsigned long", "parent_ip", 8)) + (
    'print fmt: " %ps <-- %ps", (void *)REC->ip, (void *)REC->parent_ip\n'
)
_LINE = re.compile(r" *(.+)-(\d+) +\[(\d+)\] (\S+) +(\d+)\.(\d+): (\w+)(?:: (.*)| <-(\w+))")
_SWITCHED = re.compile(r"prev_comm=(.*) prev_pid=(\d+) .* prev_state=(\S+) ==> next_comm=(.*) next_pid=(\d+) ")


_FORKED = re.compile(r"comm=(.*) pid=(\d+) child_comm=(.*) child_pid=(\d+)")
_EXECUTED = re.compile(r"filename=(.*) pid=(\d+) old_pid=(\d+)")
_HOTPLUG = re.compile(r"cpu: (\d+) target: +(\d+) step: +(\d+) \((\w+)\)")
_SIGNAL = re.compile(r"sig=(\d+) errno=\d+ code=-?\d+ sa_handler=(\w+) sa_flags=(\w+)")
_LOSS = re.compile(r"CPU:(\d+) \[LOST (\d+) EVENTS\]")


class _Symbols:
    """Made-up addresses of functions."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def address(self, name: str) -> int:
        return self._known.setdefault(name, 0xFFFF800008000000 + 0x1000 * len(self._known))

    def text(self) -> bytes:
        known = self._known | {"_end": 0xFFFF800009000000}
        return "".join(f"{address:016x} T {name}\n" for name, address in known.items()).encode()


def _located(at: int, *texts: str) -> tuple[list[int], bytes]:
    """Return what __data_loc fields say of texts that stand from `at` on, and the texts."""
    said, raw = [], b""
    for text in texts:
        said.append(at + len(raw) | (len(text) + 1) << 16)
        raw += text.encode() + b"\0"
    return said, raw + bytes(-len(raw) % 4)


def _payload(event: str, rest: str | None, caller: str | None, symbols: _Symbols, o: str) -> tuple[int, bytes] | None:
    """Return (type, fields) of an event, or None for one the writer does not know; the ip lies within its function."""
    if caller is not None:
        return 1, struct.pack(o + "QQ", symbols.address(event) + 4, symbols.address(caller) + 8)
    assert rest is not None
    if event == "sched_switch" and (m := _SWITCHED.match(rest)):
        prev = struct.pack(o + "16siiq", m[1].encode(), int(m[2]), 120, _STATE_BITS[m[3]])
        return 103, prev + struct.pack(o + "16sii", m[4].encode(), int(m[5]), 120)
    if event == "sys_enter":
        number, args = re.match(r"NR (-?\d+) \((.*)\)", rest).groups()  # type: ignore[union-attr]
        return 101, struct.pack(o + "q6Q", int(number), *(int(arg, 16) for arg in args.split(", ")))
    if event == "sys_exit":
        number, _, value = rest.removeprefix("NR ").split()
        return 102, struct.pack(o + "qq", int(number), int(value))
    if event == "sched_process_fork" and (m := _FORKED.match(rest)):
        (one, two), texts = _located(24, m[1], m[3])
        return 108, struct.pack(o + "IiIi", one, int(m[2]), two, int(m[4])) + texts
    if event == "sched_process_exec" and (m := _EXECUTED.match(rest)):
        (one,), texts = _located(20, m[1])
        return 109, struct.pack(o + "Iii", one, int(m[2]), int(m[3])) + texts
    if event == "sched_process_exit":
        return 110, struct.pack(o + "16sii", b"gone", 1, 120)
    if event == "signal_deliver" and (m := _SIGNAL.match(rest)):
        return 111, struct.pack(o + "iiiiQQ", int(m[1]), 0, 0, 0, int(m[2], 16), int(m[3], 16))
    if event == "cpuhp_enter" and (m := _HOTPLUG.match(rest)):
        return 112, struct.pack(o + "IiiiQ", int(m[1]), int(m[2]), int(m[3]), 0, symbols.address(m[4]))
    if event in _CALLS:
        values = [int(word, 16) for word in re.findall(r"0x(\w+)", rest)]
        return _CALLS[event][0], struct.pack(o + f"ii{len(values)}Q", 0, 0, *values)
    number = {"kvm_entry": 104, "kvm_exit": 105, "kvm_userspace_exit": 106, "hw_save": 107}.get(event)
    return (number, struct.pack(o + "Q", 1)) if number else None


def _record(line: re.Match[str], symbols: _Symbols, o: str) -> bytes | None:
    payload = _payload(line[7], line[8], line[9], symbols, o)
    if payload is None:
        return None
    flags = (
        (0x01 if line[4][0] in "dD" else 0) | (0x04 if line[4][1] == "N" else 0) | (0x10 if line[4][2] == "s" else 0)
    )
    return struct.pack(o + "HBBi", payload[0], flags, 0, int(line[2])) + payload[1]


class _Cpu:
    """The ring buffer pages of one CPU in one buffer."""

    def __init__(self, form: Form) -> None:
        self.pages: list[bytes] = []
        self.lost = 0
        self._form = form
        self._data = b""
        self._start = self._last = self._missed = 0

    def add(self, time: int, record: bytes) -> None:
        form = self._form
        if not self._data or self.lost or len(self._data) + len(record) + 32 > _PAGE - _HEADER:
            self.flush()
            self._start = self._last = time
            self._missed, self.lost = self.lost, 0
        delta = time - self._last
        if form.stamps == "absolute":
            self._data += self._head(31, time & (1 << 27) - 1) + struct.pack(form.order + "I", time >> 27)
            delta = 0
        elif form.stamps == "extend" or delta >= 1 << 27:
            self._data += self._head(30, delta & (1 << 27) - 1) + struct.pack(form.order + "I", delta >> 27)
            delta = 0
        if len(record) // 4 > 28:
            self._data += self._head(0, delta) + struct.pack(form.order + "I", len(record) + 4) + record
        else:
            self._data += self._head(len(record) // 4, delta) + record
        self._last = time
        if form.discarded:
            self._data += self._head(29, 1) + struct.pack(form.order + "I", 8) + b"gone"
            self._last += 1

    def _head(self, kind: int, delta: int) -> bytes:
        return struct.pack(self._form.order + "I", kind << 27 | delta if self._form.big else kind | delta << 5)

    def flush(self) -> None:
        if self._data:
            self.pages.append(self._page(len(self._data), self._data))
        self._data = b""

    def _page(self, used: int, data: bytes) -> bytes:
        if self._missed:
            used |= 1 << 31 | 1 << 30
            data += struct.pack(self._form.order + "Q", self._missed)
        return (struct.pack(self._form.order + "QQ", self._start, used) + data).ljust(_PAGE, b"\0")


class _File:
    """The parts of a file, as bytes."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.symbols = _Symbols()
        self.comms: dict[int, str] = {}
        self.buffers: dict[str, dict[int, _Cpu]] = {"": {}}
        self.lost: dict[int, int] = {}

    def take(self, raw: str) -> bool:
        """Take in a line of text; return whether the writer knows it."""
        if loss := _LOSS.match(raw):
            self.lost[int(loss[1])] = int(loss[2])
            return True
        line = _LINE.match(raw)
        record = _record(line, self.symbols, self.form.order) if line else None
        if line is None or record is None:
            return False
        self.comms[int(line[2])] = line[1]
        cpus = self.buffers.setdefault(self.form.buffer_of(raw), {})
        cpu = cpus.setdefault(int(line[3]), _Cpu(self.form))
        cpu.lost = self.lost.pop(int(line[3]), 0)
        cpu.add(int(line[5]) * 10**9 + int(line[6].ljust(9, "0")), record)
        return True

    def number(self, size: int, value: int) -> bytes:
        return value.to_bytes(size, "big" if self.form.big else "little")

    def sized(self, text: str | bytes, size: int = 8) -> bytes:
        raw = text.encode() if isinstance(text, str) else text
        return self.number(size, len(raw)) + raw

    def headers(self) -> bytes:
        return b"header_page\0" + self.sized(_HEADER_PAGE) + b"header_event\0" + self.sized(_HEADER_EVENT)

    def _event(self, name: str, number: int, text: str) -> bytes:
        return self.sized(f"name: {name}\nID: {number}\n{_COMMON}{text}")

    def ftrace(self) -> bytes:
        return self.number(4, 1) + self._event("function", 1, _FUNCTION)

    def events(self) -> bytes:
        systems = sorted({system for system, _, _ in _FORMATS})
        raw = self.number(4, len(systems))
        for system in systems:
            events = [(name, number, text) for (s, name, number), text in _FORMATS.items() if s == system]
            raw += system.encode() + b"\0" + self.number(4, len(events))
            raw += b"".join(self._event(*event) for event in events)
        return raw

    def kallsyms(self) -> bytes:
        return self.sized(self.symbols.text(), 4)

    def cmdlines(self) -> bytes:
        return self.sized("".join(f"{tid} {comm}\n" for tid, comm in self.comms.items()))

    def cpus(self) -> int:
        return 1 + max(cpu for cpus in self.buffers.values() for cpu in cpus)

    def pages(self, name: str) -> list[bytes]:
        cpus = self.buffers[name]
        for cpu in cpus.values():
            cpu.flush()
        return [b"".join(cpus[c].pages) if c in cpus else b"" for c in range(self.cpus())]

    def begin(self) -> bytes:
        version = str(self.form.version).encode()
        raw = b"\x17\x08\x44tracing" + version + b"\0" + bytes([self.form.big, 8]) + self.number(4, _PAGE)
        compression = self.form.compression.encode() or b"none"
        return raw + (compression + b"\0" + b"1\0" if self.form.version == 7 else b"")

    def option(self, number: int, raw: bytes) -> bytes:
        return self.number(2, number) + self.sized(raw, 4)

    def version_6(self) -> bytes:
        head = self.begin() + self.headers() + self.ftrace() + self.events() + self.kallsyms() + self.number(4, 0)
        head += self.cmdlines() + self.number(4, self.cpus()) + b"options  \0"
        head += b"".join(self.option(*option) for option in self.form.options)
        more = [name for name in self.buffers if name]
        length = len(head) + sum(14 + len(name) + 1 for name in more) + 2
        table = 10 + 16 * self.cpus()
        places = [length + table * (1 + i) for i in range(len(more))]
        for name, place in zip(more, places, strict=True):
            head += self.option(3, self.number(8, place) + name.encode() + b"\0")
        head += self.number(2, 0)
        at = _up(length + table * (1 + len(more)))
        body = b""
        for name in ("", *more):
            head += b"flyrecord\0"
            for raw in self.pages(name):
                head += self.number(8, at + len(body)) + self.number(8, len(raw))
                body += raw
        return head.ljust(at, b"\0") + body

    def packed(self, raw: bytes) -> bytes:
        """Return a compressed piece with its two sizes."""
        small = zlib.compress(raw) if self.form.compression == "zlib" else pa.compress(raw, "zstd", asbytes=True)
        return self.number(4, len(small)) + self.number(4, len(raw)) + small

    def section(self, number: int, raw: bytes) -> bytes:
        raw = self.packed(raw) if self.form.compression and number not in (0, 3) else raw
        flag = int(bool(self.form.compression) and number != 0)
        return self.number(2, number) + self.number(2, flag) + self.number(4, 0) + self.sized(raw)

    def version_7(self) -> bytes:
        raw = self.begin()
        first = len(raw)
        raw += bytes(8)
        options = b"".join(self.option(*option) for option in self.form.options)
        parts = {16: self.headers(), 17: self.ftrace(), 18: self.events(), 19: self.kallsyms(), 21: self.cmdlines()}
        for number, part in parts.items():
            options += self.option(number, self.number(8, len(raw)))
            raw += self.section(number, part)
        for name in self.buffers:
            option = self.number(8, len(raw)) + name.encode() + b"\0mono\0" + self.number(4, _PAGE)
            raw = (raw + self.section(3, b"")).ljust(_up(len(raw) + 16), b"\0")
            option += self.number(4, self.cpus())
            for cpu, pages in enumerate(self.pages(name)):
                stored = self.chunks(pages)
                option += self.number(4, cpu) + self.number(8, len(raw)) + self.number(8, len(stored))
                raw += stored
            options += self.option(3, option)
        at = len(raw)
        raw += self.section(0, options + self.option(0, self.number(8, 0)))
        return raw[:first] + self.number(8, at) + raw[first + 8 :]

    def chunks(self, pages: bytes) -> bytes:
        if not self.form.compression or not pages:
            return pages
        chunks = [self.packed(pages[i : i + _CHUNK]) for i in range(0, len(pages), _CHUNK)]
        return self.number(4, len(chunks)) + b"".join(chunks)


def _up(size: int) -> int:
    return -(-size // _PAGE) * _PAGE


PLAIN = Form()


def make_dat(text: str, path: Path, form: Form = PLAIN) -> list[str]:
    """Write the lines of ftrace text that the writer knows as a trace.dat; return them."""
    file = _File(form)
    kept = [raw for raw in text.splitlines() if file.take(raw)]
    path.write_bytes(file.version_7() if form.version == 7 else file.version_6())
    return kept
