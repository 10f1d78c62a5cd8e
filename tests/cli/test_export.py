"""`fpstate export` as a user types it; what it writes is read back by Perfetto's own definitions."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.unknown_fields import UnknownFieldSet
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent
from typer.testing import CliRunner, Result

from fpstate.cli.main import app
from fpstate.costs import load_profile
from fpstate.errors import FpstateError
from fpstate.pictures.perfetto import perfetto_trace
from fpstate.policies.catalogue import find_policy
from fpstate.replay.timeline import timeline
from fpstate.traces.samples import open_trace


def export(*words: str) -> Result:
    return CliRunner().invoke(app, ["export", *words], catch_exceptions=True)


def packets_of(raw: bytes) -> list[Any]:
    trace = Trace()
    trace.ParseFromString(raw)
    assert all(not len(UnknownFieldSet(m)) for p in trace.packet for m in (p, p.track_event, p.track_descriptor))
    return list(trace.packet)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[Any]]:
    path = tmp_path_factory.mktemp("export") / "x.pftrace"
    done = export("contended.vhe", "-p", "linux-6.14", "-o", str(path), "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout), packets_of(path.read_bytes())


def test_tracks_are_named_and_nested(written: tuple[dict[str, Any], list[Any]]) -> None:
    tracks = {p.track_descriptor.uuid: p.track_descriptor for p in written[1] if p.HasField("track_descriptor")}
    names = {t.name for t in tracks.values()}
    assert {"CPU 0", "CPU 1", "cycles so far (altra-vhe)", "linux-6.14 on contended.vhe (bundled)"} <= names
    assert any(name.startswith("vcpu of ") for name in names)
    for track in tracks.values():
        assert not track.parent_uuid or track.parent_uuid in tracks


def test_slices_are_balanced_in_order_and_never_overlap(written: tuple[dict[str, Any], list[Any]]) -> None:
    events = [p for p in written[1] if p.HasField("track_event")]
    assert [p.timestamp for p in events] == sorted(p.timestamp for p in events)
    open_: Counter[int] = Counter()
    slices = 0
    for p in events:
        step = {TrackEvent.TYPE_SLICE_BEGIN: 1, TrackEvent.TYPE_SLICE_END: -1}.get(p.track_event.type, 0)
        open_[p.track_event.track_uuid] += step
        slices += step > 0
        assert open_[p.track_event.track_uuid] in (0, 1)
    assert not any(open_.values())
    assert slices > 500


def test_marks_and_the_counter_say_what_the_command_says(written: tuple[dict[str, Any], list[Any]]) -> None:
    said, packets = written
    names = {n.iid: n.name for p in packets for n in p.interned_data.event_names}
    events = [p.track_event for p in packets if p.HasField("track_event")]
    marks = Counter(names[e.name_iid] for e in events if e.type == TrackEvent.TYPE_INSTANT)
    assert marks == {"save": said["saves"], "load": said["loads"], "trap": said["traps"]}
    counter = [e.counter_value for e in events if e.type == TrackEvent.TYPE_COUNTER]
    assert counter == sorted(counter)
    assert counter[-1] == round(said["cycles"])
    by_kind: dict[str, set[str]] = defaultdict(set)
    for e in events:
        if e.type == TrackEvent.TYPE_INSTANT:
            by_kind[names[e.name_iid]] |= {a.string_value for a in e.debug_annotations if a.name == "event"}
    assert by_kind["trap"] == {"guest_fp"}


def test_a_task_of_any_name_is_just_text() -> None:
    trace = open_trace("contended.vhe")
    trace.contexts.name[:] = ["</script><script>alert('\u2028')</script>"] * len(trace.contexts)
    raw = perfetto_trace(trace, timeline(trace, find_policy("eager")), load_profile("altra-vhe"))
    names = {p.track_descriptor.name for p in packets_of(raw)}
    assert any("</script><script>alert('\u2028')</script>-" in name for name in names)


def test_what_it_wrote_is_written_over_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.pftrace"
    assert export("mmio-int.vhe", "-o", str(path)).exit_code == 0
    first = path.read_bytes()
    assert export("mmio-int.vhe", "-o", str(path)).exit_code == 0
    assert path.read_bytes() == first
    path.write_text("\nsomebody's notes\n")
    refused = export("mmio-int.vhe", "-o", str(path))
    assert isinstance(refused.exception, FpstateError)
    assert "none of ours" in str(refused.exception)
    assert path.read_text() == "\nsomebody's notes\n"
    assert [p.name for p in tmp_path.iterdir()] == ["x.pftrace"]


def test_a_folder_or_the_recording_itself_is_refused(tmp_path: Path) -> None:
    assert "not a regular file" in str(export("mmio-int.vhe", "-o", str(tmp_path)).exception)
    trace = tmp_path / "t.txt"
    trace.write_text("anything")
    assert "is the recording itself" in str(export(str(trace), "-o", str(trace)).exception)
    assert "is the recording itself" in str(export(str(trace), "-o", str(tmp_path / "." / "t.txt")).exception)
    assert trace.read_text() == "anything"
