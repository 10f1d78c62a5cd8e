"""What a process that cannot answer says, and how it ends: never with the code of a finding."""

from __future__ import annotations

import gzip
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fpstate.cli import main as program
from fpstate.traces.samples import sample_path


def run(*arguments: str, code: str = "", memory: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the program in a process of its own, after `code`, with at most so many bytes of address space."""
    start = f"{code}\nfrom fpstate.cli.main import main\nmain()"

    def limit() -> None:
        if memory:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))

    return subprocess.run(
        [sys.executable, "-c", start, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        preexec_fn=limit,
        check=False,
    )


BREAKS = """
import fpstate.policies.catalogue as catalogue
def broken(*_): raise AssertionError('no such\\n  world')
catalogue.policies = broken
"""


@pytest.mark.parametrize("json_too", [False, True])
def test_an_error_of_ours_is_one_line_and_a_code_of_its_own(*, json_too: bool) -> None:
    done = run("policies", *(["--json"] if json_too else []), code=BREAKS)
    assert done.returncode == program.OUR_FAULT == 70
    what = "an error of fpstate itself: AssertionError: no such world"
    assert done.stderr == f"fpstate: {what}; FPSTATE_TRACEBACK=1 shows where; please report it\n"
    if json_too:
        said = json.loads(done.stdout)
        assert said["schema"] == "fpstate.error/1"
        assert (said["kind"], said["exit_code"], said["given"]) == ("internal", 70, what)
    else:
        assert not done.stdout


def test_bad_input_is_a_document_too_where_one_was_asked_for() -> None:
    done = run("check", "eagr", "--json")
    said = json.loads(done.stdout)
    assert (done.returncode, said["schema"], said["kind"]) == (2, "fpstate.error/1", "input")
    assert said["given"] == "unknown policy 'eagr'"
    assert said["hint"] == "did you mean 'eager'?"


def test_a_traceback_is_shown_where_it_is_asked_for() -> None:
    done = run("policies", code=BREAKS, FPSTATE_TRACEBACK="1")
    assert "Traceback" in done.stderr
    assert "AssertionError" in done.stderr


def test_lack_of_memory_is_no_finding() -> None:
    """A search that needs more than the process may have ends with its own code, and says nothing of the policy."""
    words = ("check", "linux-6.14", "--features", "sve", "--cpus", "2", "--json")
    run(*words, "--max-states", "1")  # compiles the search, which takes more memory than this one may have
    done = run(*words, memory=900_000_000)
    assert done.returncode == program.NO_MEMORY == 71, done.stderr
    assert done.stderr.splitlines()[-1].startswith("fpstate: not enough memory")
    assert json.loads(done.stdout)["schema"] == "fpstate.error/1"


def test_the_codes_are_listed_where_commands_are() -> None:
    done = run("--help")
    for code in ("0 good", "1 a finding", "2 bad input", "3 incomplete", "70 an error", "71 not enough"):
        assert code in " ".join(done.stdout.replace("│", " ").split())


@pytest.mark.parametrize("words", ["policies --json", "describe kneon.vhe"])
def test_a_reader_that_has_gone_gets_no_verdict(words: str) -> None:
    script = f"{sys.executable} -m fpstate {words} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (141, "")


def _heed_interrupts() -> None:
    """Undo what a shell does to programs in its background, which the tests may be one of."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize(("number", "code", "said"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "")])
def test_a_signal_ends_it_and_nothing_is_left(number: int, code: int, said: str, tmp_path: Path) -> None:
    """What was being written goes, and the exit code is that of the signal."""
    source = tmp_path / "long.txt"
    with gzip.open(sample_path("contended.vhe"), "rt") as lines:
        source.write_text(lines.read() * 40)  # time runs backwards in it: the import would end in an error at last
    words = [sys.executable, "-m", "fpstate", "import", str(source), "-o", str(tmp_path / "it.parquet")]
    started = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, preexec_fn=_heed_interrupts)
    while not list(tmp_path.glob(".it.parquet.*")):
        assert started.poll() is None, started.stderr
        time.sleep(0.01)
    started.send_signal(number)
    _, errors = started.communicate()
    assert (started.returncode, said in errors, "Traceback" in errors) == (code, True, False)
    assert [path.name for path in tmp_path.iterdir()] == ["long.txt"]
