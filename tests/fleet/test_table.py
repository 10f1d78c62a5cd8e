"""The table of a fleet: whole at any time, going on where it was, never taking another file's place."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fpstate.errors import FpstateError
from fpstate.fleet.job import Ask, Job, Row, failed
from fpstate.fleet.kind import NUMBER, TEXT, Kind
from fpstate.fleet.lines import lines_of
from fpstate.fleet.table import Table

KIND = Kind("toy", {"name": TEXT}, {"n": NUMBER}, lambda job: job, lambda _, ask: {"n": 1}, ())


def row(name: str, n: int, key: str = "k") -> Row:
    return {"name": name, "n": n, "key": key, "error": None, "seconds": 0.5}


def ask(name: str, key: str = "k") -> Ask:
    return Ask({"name": name}, key)


def content(path: Path) -> list[tuple[str, Any]]:
    return [(r["name"], r["n"]) for r in pq.read_table(path).to_pylist()]


def test_rows_come_back_in_the_order_asked_and_leave_one_file(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    with Table(path, KIND) as table:
        table.add(lines_of(KIND, [row("b", 2), row("c", 3)]))
        table.add(lines_of(KIND, [row("a", 1)]))
        table.write([ask("a"), ask("b")])
    assert content(path) == [("a", 1), ("b", 2), ("c", 3)]
    assert [p.name for p in tmp_path.iterdir()] == ["x.parquet"]
    assert pq.read_schema(path).metadata[b"fpstate.schema"] == b"fpstate.fleet.toy/1"


def test_an_answer_is_one_of_the_same_input_and_an_error_is_none(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    with Table(path, KIND) as table:
        table.add(lines_of(KIND, [row("a", 1), failed(ask("b"), "cannot be read")]))
    with Table(path, KIND) as table:
        assert table.answered(ask("a"))
        assert not table.answered(ask("a", "other"))
        assert not table.answered(ask("b"))
        table.add(lines_of(KIND, [row("b", 7), row("a", 8, "other")]))
    with Table(path, KIND) as table:
        assert table.answered(ask("a", "other"))
        assert table.answered(ask("b"))
    assert sorted(content(path)) == [("a", 8), ("b", 7)]


def test_what_a_killed_process_had_is_taken_in(tmp_path: Path) -> None:
    """Its journal has whole lines, and a last one that is not."""
    path = tmp_path / "x.parquet"
    with Table(path, KIND) as table:
        table.add(lines_of(KIND, [row("a", 1)]))
    journal = path.with_name("x.parquet.journal")
    half = json.dumps(row("c", 3))[:20]
    journal.write_bytes(lines_of(KIND, [row("b", 2)]) + half.encode())
    with Table(path, KIND) as table:
        assert table.answered(ask("b"))
        assert not table.answered(ask("c"))
        table.add(lines_of(KIND, [row("d", 4)]))
        assert [json.loads(line)["name"] for line in journal.read_text().splitlines() if line != half] == ["b", "d"]
    assert content(path) == [("a", 1), ("b", 2), ("d", 4)]
    assert not journal.exists()


def test_the_file_is_whole_while_rows_come(tmp_path: Path) -> None:
    """What is not in it yet is in the journal."""
    path = tmp_path / "x.parquet"
    with Table(path, KIND) as table:
        table.add(lines_of(KIND, [row("a", 1)]))
        assert not path.exists()
        table.write()
        table.add(lines_of(KIND, [row("b", 2)]))
        assert content(path) == [("a", 1)]
        assert path.with_name("x.parquet.journal").read_text().count("\n") == 1
        assert table.rows_of([ask("b"), ask("z"), ask("a")])["name"].to_pylist() == ["b", "a"]


@pytest.mark.parametrize("content", [b"hello", b"PAR1 and no more", b"PAR1"])
def test_what_is_no_such_table_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(content)
    with pytest.raises(FpstateError, match="another name"):
        Table(path, KIND)
    assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["x.parquet"]


def test_a_table_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    with Table(path, KIND) as table:
        table.add(lines_of(KIND, [row("a", 1)]))
    other = Kind("other", {"name": TEXT}, {"n": NUMBER}, lambda job: job, lambda _, ask: {}, ())
    with pytest.raises(FpstateError, match=r"holds fpstate\.fleet\.toy/1; expected a table of fpstate\.fleet\.other/1"):
        Table(path, other)


@pytest.mark.parametrize(("name", "said"), [(".", "is a folder"), ("no/x.parquet", "cannot be written")])
def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(FpstateError, match=said):
        Table(tmp_path / name, KIND)


def test_two_processes_do_not_write_one_table(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    with path.with_name("x.parquet.journal").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(FpstateError, match="being written by another process"):
            Table(path, KIND)


def test_a_job_less_what_is_answered() -> None:
    job = Job("toy", "job", (ask("a"), ask("b")))
    assert [a.label["name"] for a in job.without(lambda a: a.label["name"] == "a").asks] == ["b"]
