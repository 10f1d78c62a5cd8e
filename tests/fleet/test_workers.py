"""Dask's workers for real, as a user starts them: killed on purpose, interrupted, left by their scheduler."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fpstate.errors import FpstateError
from fpstate.fleet.cluster import _Spread
from fpstate.fleet.job import Job
from fpstate.fleet.work import OtherCodeError

pytest.importorskip("distributed")

FLEET = [sys.executable, "-m", "fpstate", "fleet"]
FIRST, LAST = "t0.parquet", "t7.parquet"


def run(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*FLEET, *words], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == code, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    return done


@contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[str]]:
    """Start a fleet in a group of processes of its own, all of which are gone afterwards."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*FLEET, *words], start_new_session=True, **pipes) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def rows_in(output: Path) -> list[dict[str, Any]]:
    """Return rows of a table less what differs from one start to the next."""
    return [{n: v for n, v in row.items() if n != "seconds"} for row in pq.read_table(output).to_pylist()]


def seconds_of(output: Path) -> dict[tuple[int, int], float]:
    """Return how long each search of a table took: what is done again takes another time."""
    return {(row["tasks"], row["kthreads"]): row["seconds"] for row in pq.read_table(output).to_pylist()}


def wait_for(what: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def workers_of(pid: int) -> list[int]:
    """Return the processes that a fleet has started as workers."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    every = [int(c) for t in children.parents[1].iterdir() for c in (t / "children").read_text().split()]
    return [c for c in every if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]


def journal(output: Path) -> str:
    path = output.with_name(f"{output.name}.journal")
    return path.read_text() if path.exists() else ""


def gone(pids: list[int]) -> bool:
    """Return whether processes have ended, though nobody may have asked how."""
    stats = [Path(f"/proc/{pid}/stat") for pid in pids]
    return all(stat.read_text().rpartition(")")[2].split()[0] == "Z" for stat in stats if stat.exists())


def test_workers_answer_what_this_process_answers_though_one_is_killed(traces: Path, own: str, tmp_path: Path) -> None:
    """By SIGKILL, in the middle of a trace: it is named with what it was at, and nothing is missing."""
    here, there = tmp_path / "one.parquet", tmp_path / "two.parquet"
    (traces / "bad.txt").write_text("hello\n")
    words = [str(traces), "-p", f"eager,{own}:DiesOnce"]
    alone = run("compare", *words, "-o", str(here), code=3)
    Path(own).with_name("flag").touch()
    done = run("compare", *words, "-o", str(there), "--workers", "2", code=3)
    assert rows_in(here) == rows_in(there)
    assert len(rows_in(there)) == 18
    assert done.stdout.replace(str(there), str(here)) == alone.stdout
    assert f"{traces / 'bad.txt'}: is not a trace" in " ".join(done.stdout.split())
    (told,) = done.stderr.splitlines()
    assert re.fullmatch(r"fpstate: note: worker tcp://127\.0\.0\.1:\d+ is gone; it was at .*\.parquet", told)


def test_what_kills_each_worker_fails_and_the_rest_is_kept(traces: Path, own: str, tmp_path: Path) -> None:
    output = tmp_path / "x.parquet"
    words = [str(traces / FIRST), str(traces / LAST), "-o", str(output), "--json"]
    run("compare", *words, "-p", "eager")
    done = run(
        "compare", str(traces / FIRST), "-o", str(output), "--json", "-p", f"{own}:Dies", "--workers", "1", code=3
    )
    said = json.loads(done.stdout)
    assert [row["error"] for row in said["failed"]] == ["3 workers died while they were at it"]
    assert done.stderr.count(f"is gone; it was at {traces / FIRST}") == 3
    assert [row["error"] is None for row in rows_in(output)] == [False, True, True]


SCOPES = ["--cpus", "1", "--vcpus", "1", "--tasks", "1,2", "--kthreads", "0-3"]
"""Eight searches, each of which asks a slow policy anew."""


def test_killed_and_interrupted_it_goes_on(own: str, tmp_path: Path) -> None:
    """A worker is killed from outside, then Ctrl-C: no process is left, and what was done is not done again."""
    output = tmp_path / "x.parquet"
    words = ["check", f"{own}:Slow", *SCOPES, "-o", str(output), "--workers", "2"]
    with running(*words) as process:
        wait_for(lambda: journal(output))
        workers = workers_of(process.pid)
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        wait_for(lambda: len(journal(output).splitlines()) >= 2)
        every = {*workers, *workers_of(process.pid)}
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "is gone; it was at" in said
    assert said.endswith(f"are kept in {output}; the same command goes on from there\nfpstate: interrupted\n")
    wait_for(lambda: gone(list(every)))
    kept = seconds_of(output)
    assert not journal(output)
    done = json.loads(run(*words[:-2], "--json").stdout)
    assert (done["asked"], done["before"], done["left"]) == (8, len(kept), 0)
    after = seconds_of(output)
    assert len(after) == 8
    assert kept.items() <= after.items()


@contextmanager
def scheduler(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start a scheduler with one worker, each a process in another folder than the traces'."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    dask = [sys.executable, "-m", "distributed.cli.dask_"]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    first = [*dask[:-1], f"{dask[-1]}scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    second = [*dask[:-1], f"{dask[-1]}worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    with subprocess.Popen(first, **quiet) as head, subprocess.Popen(second, **quiet) as worker:
        try:
            yield address, head
        finally:
            for process in (worker, head):
                process.kill()


def test_a_scheduler_that_goes_away_costs_nothing_that_was_done(own: str, tmp_path: Path) -> None:
    """One sentence, exit code 3, and the next start goes on."""
    output = tmp_path / "x.parquet"
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    words = ["check", f"{own}:Slow", *SCOPES, "-o", str(output)]
    with scheduler(folder) as (address, head):
        with running(*words, "--scheduler", address) as process:
            wait_for(lambda: journal(output))
            head.kill()
            _, said = process.communicate(timeout=30)
        assert process.returncode == 3
        assert re.fullmatch(
            rf"fpstate: the scheduler at '{address}' is gone; \d of 8 rows are kept in {output}; "
            "the same command goes on from there\n",
            said,
        )
    kept = len(rows_in(output))
    assert 1 <= kept < 8
    assert f"8 of 8 rows in {output}, {kept} from before" in " ".join(run(*words).stdout.split())


@pytest.mark.parametrize(
    ("address", "said"),
    [("nowhere", "is no address: missing port"), ("ftp://x:1", "unknown address scheme 'ftp'")],
)
def test_an_address_that_is_none_is_one_clear_error(address: str, said: str, traces: Path, tmp_path: Path) -> None:
    done = run("compare", str(traces), "-p", "eager", "-o", str(tmp_path / "x"), "--scheduler", address, code=2)
    assert said in done.stderr
    assert "like tcp://127.0.0.1:8786" in done.stderr
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith("x")]


def test_what_is_killed_outright_loses_nothing_that_was_done(own: str, tmp_path: Path) -> None:
    """No chance to tidy up: the journal has all, workers end by themselves, and the next start takes it in."""
    output = tmp_path / "x.parquet"
    words = ["check", f"{own}:Slow", *SCOPES, "-o", str(output)]
    with running(*words, "--workers", "1") as process:
        wait_for(lambda: len(journal(output).splitlines()) >= 2)
        workers = workers_of(process.pid)
        process.kill()
        process.wait()
    wait_for(lambda: gone(workers))
    kept = len(journal(output).splitlines())
    done = json.loads(run(*words, "--json").stdout)
    assert (done["before"], done["left"]) == (kept, 0)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["x.parquet"]


class Nobody:
    """A client that is connected to nobody."""

    scheduler = None


def test_workers_with_another_fpstate_or_none_are_refused() -> None:
    """By one sentence, whatever Dask has wrapped the error in."""
    spread = _Spread(Nobody(), [Job("compare", "x", ())], lambda _: None, lambda _: [])
    spread._refuse(None)
    spread._refuse(ValueError("x"))
    with pytest.raises(FpstateError, match="have another fpstate; expected the same fpstate there as here"):
        spread._refuse(OtherCodeError())
    wrapped = RuntimeError("Error during deserialization of the task graph")
    wrapped.__cause__ = ModuleNotFoundError("No module named 'fpstate'", name="fpstate")
    with pytest.raises(FpstateError, match="have no such fpstate"):
        spread._refuse(wrapped)
