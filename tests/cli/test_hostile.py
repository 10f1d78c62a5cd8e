"""What is named that is not what it should be, and policies that misbehave: one clear error, never an answer."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from fpstate.traces.samples import sample_path
from tests.cli.test_commands import run

SMALL = ("--cpus", "1", "--tasks", "1", "--vcpus", "0")
OWN = "from fpstate.policies.eager import Eager\nclass Own(Eager):\n    name = 'own'\n"
RETURN = "    def ret_to_user(self, cpu, task):\n"


def written(folder: Path, text: str, name: str = "own.py") -> str:
    path = folder / name
    path.write_text(text)
    return f"{path}:Own"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os\nos._exit(0)\n", "own.py:2: the file cannot be imported: it ends the process"),
        ("import os\nos.execv('/bin/true', ['true'])\n", "own.py:2: the file cannot be imported: it ends the process"),
        ("import sys\nsys.exit(0)\n", "own.py:2: the file cannot be imported: SystemExit"),
        (
            OWN + "    def ret_to_user(self, cpu, task):\n        import os\n        os._exit(0)\n",
            "own.py:6: handler 'ret_to_user'",
        ),
        (
            OWN + "    def ret_to_user(self, cpu, task):\n        raise SystemExit(0)\n",
            "own.py:5: handler 'ret_to_user'",
        ),
    ],
    ids=["exits", "becomes-another", "sys-exit", "exits-in-a-handler", "sys-exit-in-a-handler"],
)
def test_a_policy_that_ends_the_process_holds_nothing(code: str, said: str, tmp_path: Path) -> None:
    """The exit code of a policy's own must not be read as a verdict."""
    assert said in run("check", written(tmp_path, code), *SMALL, code=2)


def test_a_file_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    assert "has not ended after 10 seconds" in run(
        "check", written(tmp_path, "while True:\n    pass\n"), *SMALL, code=2
    )


def test_what_a_policy_prints_is_not_part_of_the_answer(tmp_path: Path) -> None:
    """JSON stays a document."""
    code = "print('imported')\n" + OWN + "    def syscall(self, cpu, task):\n        print('called')\n"
    assert json.loads(run("check", written(tmp_path, code), *SMALL, "--json"))["verdict"] == "holds"


def test_files_beside_a_policy_can_be_imported(tmp_path: Path) -> None:
    written(tmp_path, OWN.replace("Own", "Base").replace("'own'", "'base'"), "beside.py")
    code = "from beside import Base\nclass Own(Base):\n    name = 'own'\n"
    assert "holds" in run("check", written(tmp_path, code), *SMALL)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("thread_switch = 5", "'thread_switch' of 'Own' is 5; expected a function"),
        ("supports = 5", "'supports' of 'Own' is 5"),
        ("gives_up = 'text'", "'gives_up' of 'Own' is 'text'"),
        ("name = '\\x1b[2J'", "'name' of 'Own' is '\\x1b[2J'; expected a name, printable text"),
        ("dirty_bit = 'yes'", "'dirty_bit' of 'Own' is 'yes'; expected True or False"),
    ],
)
def test_attributes_of_a_policy_are_looked_at(line: str, said: str, tmp_path: Path) -> None:
    code = OWN.replace("    name = 'own'\n", f"    {line}\n")
    assert said in run("check", written(tmp_path, code), *SMALL, code=2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"x = 1{'0' * 5000}\n", "not a cost profile"),
        ("x = " + "[" * 100_000, "nested too deeply"),
        (f"name = 'a'\ntitle = 'b'\ncpu = 'c'\nclock_source = 'd'\nclock_ghz = 1{'0' * 400}\n", "clock_ghz is 10000"),
    ],
)
def test_hostile_cost_files(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "it.toml").write_text(text)
    assert said in run("costs", str(tmp_path / "it.toml"), code=2)


def test_cost_files_that_never_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    for path in (tmp_path / "pipe.toml", "/dev/zero"):
        assert "is not a regular file" in run("costs", str(path), code=2)


@pytest.mark.parametrize("name", ["", ".", "/"])
def test_a_folder_is_no_trace(name: str) -> None:
    assert "is a folder" in run("import", name, code=2)


def test_an_import_writes_over_nothing_else(tmp_path: Path) -> None:
    """A file that is no trace stays; a trace is replaced; a link is written through."""
    notes, source = tmp_path / "notes.txt", str(sample_path("hvc-fp.vhe"))
    notes.write_text("mine")
    assert "is there and is no trace of ours" in run("import", source, "-o", str(notes), code=2)
    assert notes.read_text() == "mine"
    link, behind = tmp_path / "link.parquet", tmp_path / "behind.parquet"
    link.symlink_to(behind)
    for _ in range(2):
        run("import", source, "-o", str(link))
    assert link.is_symlink()
    assert behind.read_bytes()[:4] == b"PAR1"
