"""A timeline as a trace for Perfetto's viewer, in its own protobuf format.

Fields and numbers are those of protos/perfetto/trace/ (trace_packet.proto, track_event/*.proto) of Perfetto v59. Few
are needed, so they are written here; the tests read them back with Perfetto's own definitions.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fpstate.costs import Profile
from fpstate.replay.timeline import LOADS, SAVES, TRAPS, Timeline, cycles, stretches, whose
from fpstate.traces.trace import Trace
from fpstate.world.events import Event
from fpstate.world.state import NOBODYS, SOFTIRQS

# Field numbers. Trace, TracePacket, InternedData and EventName, TrackDescriptor, CounterDescriptor, TrackEvent.
_PACKET = 1
_TIMESTAMP, _SEQUENCE, _TRACK_EVENT, _INTERNED, _FLAGS, _DESCRIPTOR, _FIRST = 8, 10, 11, 12, 13, 60, 87
_EVENT_NAMES, _IID, _NAME = 2, 1, 2
_UUID, _TRACK_NAME, _PARENT, _COUNTER, _ORDERING, _RANK = 1, 2, 5, 8, 11, 12
_UNIT_NAME = 6
_TYPE, _NAME_IID, _TRACK, _ANNOTATION, _VALUE = 9, 10, 11, 4, 30
_ANNOTATION_NAME, _STRING, _INT = 10, 6, 4

_SLICE_BEGIN, _SLICE_END, _INSTANT, _COUNT = 1, 2, 3, 4
_EXPLICIT = 3  # tracks below another in the order of their ranks
_CLEARED, _NEEDED = 1, 2  # interned names begin here; are needed

# Tracks, by uuid. Those of CPUs and contexts follow each other below their folder.
_ALL, _CPUS, _CONTEXTS, _CYCLES, _FIRST_CPU = 1, 2, 3, 4, 16


def varint(n: int) -> bytes:
    """Return a number of at least 0 in groups of 7 bits, the lowest first."""
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def number(field: int, n: int) -> bytes:
    """Return a field that holds a number of at least 0."""
    return varint(field << 3) + varint(n)


def block(field: int, content: bytes | str) -> bytes:
    """Return a field that holds text or a message."""
    raw = content.encode("utf-8", "replace") if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(raw)) + raw


BEGINS = block(_PACKET, number(_SEQUENCE, 1) + number(_FIRST, 1))
"""The packet with which every file of ours begins."""


def perfetto_trace(trace: Trace, line: Timeline, profile: Profile) -> bytes:
    """Return the file.

    It has a track per CPU with whose values its registers hold and marks of what was carried out, a track per context
    with the CPU that holds its values, and a counter of the cycles spent so far.
    """
    writer = _Writer()
    cpus = len(line.first)
    seen = [x for x in np.unique(np.append(line.owner, line.first)).tolist() if x > SOFTIRQS]
    tracks = {owner: _FIRST_CPU + cpus + i for i, owner in enumerate(seen)}
    writer.track(_ALL, f"{line.policy} on {trace.header.source}")
    writer.track(_CPUS, "whose values the registers hold", _ALL, 1)
    for c in range(cpus):
        writer.track(_FIRST_CPU + c, f"CPU {c}", _CPUS, c)
    writer.track(_CONTEXTS, "which CPU holds the values of", _ALL, 2)
    for i, owner in enumerate(seen):
        writer.track(tracks[owner], whose(trace, owner), _CONTEXTS, i)
    writer.track(_CYCLES, f"cycles so far ({profile.name})", _ALL, 3, counter="cycles")
    for time, _, body in sorted(
        [*_slices(trace, line, tracks, writer), *_marks(trace, line, writer), *_cycles(trace, line, profile)],
        key=lambda packet: packet[:2],
    ):
        writer.event(time, body)
    return writer.whole()


class _Writer:
    """Packets of one sequence; names are written once and referred to by number."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.names: dict[str, int] = {}

    def name(self, text: str) -> bytes:
        """Return the field of an event that names it."""
        return number(_NAME_IID, self.names.setdefault(text, len(self.names) + 1))

    def track(self, uuid: int, name: str, parent: int = 0, rank: int = 0, counter: str = "") -> None:
        """Describe a track, below another and in its place there."""
        body = number(_UUID, uuid) + block(_TRACK_NAME, name) + number(_ORDERING, _EXPLICIT)
        body += number(_PARENT, parent) + number(_RANK, rank) if parent else b""
        body += block(_COUNTER, block(_UNIT_NAME, counter)) if counter else b""
        self.packets.append(block(_PACKET, block(_DESCRIPTOR, body) + number(_SEQUENCE, 1)))

    def event(self, time: int, body: bytes) -> None:
        """Write an event of a track, at a time in nanoseconds."""
        head = number(_TIMESTAMP, time) + number(_SEQUENCE, 1) + number(_FLAGS, _NEEDED)
        self.packets.append(block(_PACKET, head + block(_TRACK_EVENT, body)))

    def whole(self) -> bytes:
        """Return all packets, the names first."""
        names = b"".join(
            block(_EVENT_NAMES, number(_IID, iid) + block(_NAME, text)) for text, iid in self.names.items()
        )
        first = block(_PACKET, number(_SEQUENCE, 1) + number(_FLAGS, _CLEARED | _NEEDED) + block(_INTERNED, names))
        return BEGINS + first + b"".join(self.packets)


_Packet = tuple[int, int, bytes]
"""Time in nanoseconds; order among packets of the same time: ends, beginnings, marks; the event."""


def _slices(trace: Trace, line: Timeline, tracks: dict[int, int], writer: _Writer) -> Iterator[_Packet]:
    """Yield the slices of CPUs and of contexts; a context's values are taken to be where they came last."""
    by_owner: dict[int, list[tuple[int, int, int]]] = {}
    for c in range(len(line.first)):
        for owner, begin, end in stretches(trace, line, c):
            by_owner.setdefault(owner, []).append((begin, end, c))
            if owner != NOBODYS:
                yield from _slice(begin, end, _FIRST_CPU + c, writer.name(whose(trace, owner)))
    for owner, track in tracks.items():
        held = sorted(by_owner.get(owner, []))
        for i, (begin, end, c) in enumerate(held):
            until = min(end, held[i + 1][0]) if i + 1 < len(held) else end
            yield from _slice(begin, until, track, writer.name(f"CPU {c}"))


def _slice(begin: int, end: int, track: int, name: bytes) -> Iterator[_Packet]:
    if end > begin:
        yield begin, 1, number(_TYPE, _SLICE_BEGIN) + number(_TRACK, track) + name
        yield end, 0, number(_TYPE, _SLICE_END) + number(_TRACK, track)


def _marks(trace: Trace, line: Timeline, writer: _Writer) -> Iterator[_Packet]:
    """Yield a mark for each save, load and trap, with the event it was done at."""
    for kind, which in (("save", SAVES), ("load", LOADS), ("trap", TRAPS)):
        times = line.done[:, which].sum(axis=1)
        for i in np.flatnonzero(times).tolist():
            row = int(line.at[i])
            body = number(_TYPE, _INSTANT) + number(_TRACK, _FIRST_CPU + int(trace.cpu[row])) + writer.name(kind)
            body += _annotated("event", block(_STRING, Event(int(trace.event[row])).name.lower()))
            body += _annotated("thread", block(_STRING, trace.contexts.label(int(trace.subject[row]))))
            body += _annotated("line", number(_INT, int(trace.line[row])))
            for _ in range(int(times[i])):
                yield int(trace.time[row]), 2, body


def _annotated(name: str, value: bytes) -> bytes:
    return block(_ANNOTATION, block(_ANNOTATION_NAME, name) + value)


def _cycles(trace: Trace, line: Timeline, profile: Profile) -> Iterator[_Packet]:
    """Yield the cycles so far, where they change."""
    head = number(_TYPE, _COUNT) + number(_TRACK, _CYCLES)
    if not len(trace):
        return
    yield int(trace.time[0]), 2, head + number(_VALUE, 0)
    so_far = np.rint(cycles(line, profile)).astype(np.int64)
    for i in np.flatnonzero(np.diff(so_far, prepend=0)).tolist():
        yield int(trace.time[line.at[i]]), 2, head + number(_VALUE, int(so_far[i]))
