"""Whatever stands around the lines of a trace, or in place of one: an answer or one error, and no line is lost."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from fpstate.errors import FpstateError
from fpstate.traces.lines.dress import Undressed, dress_of
from fpstate.traces.lines.source import open_source

PIECES = (
    "> ", "\t", "```", "Nov 27 13:32:22 host kernel: ", "[  1.000000] ", "<script>", "</script>", "<html>", "\\n\\",
    "# tracer: nop", "a-7 [000] d..2. 1.000000: ", "a-7  0d..2. 12us : ", "a 7 [000] 1.000000: ", "x: y",
    "sched:sched_switch: ", "cpus=2", " ", "...", "\r", "\ufeff",
)  # fmt: skip
texts = st.lists(st.lists(st.sampled_from(PIECES), max_size=6).map("".join), max_size=12).map("\n".join)


@settings(deadline=None)
@given(texts, st.integers(1, 40))
def test_no_line_is_lost(text: str, size: int) -> None:
    """Taking off leaves as many lines as there were, however they are read."""
    raw = text.encode()
    dress = dress_of(raw)
    if dress is None:
        return
    stream = Undressed(io.BytesIO(raw), dress)
    found, buffer = b"", memoryview(bytearray(size))
    while got := stream.readinto(buffer):
        found += bytes(buffer[:got])
    assert found.count(b"\n") == raw.count(b"\n")


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=400), texts.map(str.encode)))
def test_any_file_is_text_or_refused(content: bytes) -> None:
    """Opening a file reads text or raises FpstateError."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content or b"x")
        file.flush()
        try:
            with open_source(Path(file.name)) as source:
                while source.readinto(memoryview(bytearray(1000))):
                    pass
        except FpstateError as error:
            said = str(error)
        else:
            said = ""
    assert "\n" not in said
