"""The command line as a user types it: output, JSON, exit codes, one error for each mistake."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fpstate.traces.samples import sample_path

MAIN = [sys.executable, "-m", "fpstate"]


def run(*words: str, code: int = 0, **kwargs: Any) -> str:
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [*MAIN, *words], capture_output=True, text=True, check=False, timeout=300, **kwargs
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if code in (0, 1) else done.stderr


def test_help_lists_the_commands_and_shows_an_example() -> None:
    """--help is enough to start, for the program and for each command."""
    text = run("--help")
    assert "Example: fpstate compare" in text
    for command in ("compare", "validate", "describe", "import", "policies", "costs"):
        assert command in text
        assert f"Example: fpstate {command}" in run(command, "--help")


def test_compare_without_arguments_ends_in_a_table_of_all_policies() -> None:
    """The demo: a bundled real trace, all policies, nothing to download."""
    text = run("compare")
    for name in ("eager", "trap-per-entry", "defer-to-put", "linux-4.18 to linux-6.8", "linux-6.14", "first-class"):
        assert re.search(rf"(?m)^ *[\d-]+ .*\b{name}", text) or re.search(rf"(?m)^ {{6,}}.*\b{name}", text), name
    assert "smp4-mixed.vhe" in text


def test_compare_json_has_the_documented_shape() -> None:
    """Low and high of each policy, the bound, and what was not observed."""
    data = json.loads(run("compare", "kneon.vhe", "--policy", "linux-6.14", "--policy", "eager", "--json"))
    assert data["schema"] == "fpstate.compare/1"
    assert [p["name"] for p in data["policies"]] == ["linux-6.14", "eager"]
    for side in ("low", "high"):
        assert {"saves", "loads", "traps", "cycles"} <= set(data["policies"][0][side])
        assert {"saves", "loads", "traps", "cycles"} <= set(data["bound"][side])
    assert data["trace"]["unobserved"]
    assert data["policies"][0]["low"]["saves"] == 1704


def test_a_policy_that_corrupts_on_the_trace_is_a_finding(tmp_path: Path) -> None:
    """A user's own policy that never saves the guest is marked, with the first place, and exits with 1."""
    own = tmp_path / "own.py"
    own.write_text(
        "from fpstate.policies.eager import Eager\n"
        "class NoSave(Eager):\n"
        "    name = 'no-save'\n"
        "    def guest_exit(self, cpu, task, vcpu):\n"
        "        cpu.load_stash()\n"
    )
    text = run("compare", "hvc-fp.vhe", "--policy", f"{own}:NoSave", code=1)
    assert "\nCORRUPTS  no-save" in text
    assert "reads a value that is not its latest" in text
    assert "first at line" in text


def test_of_one_policy_it_is_shown_whose_values_the_registers_hold() -> None:
    """A line for each CPU, as long as each other, with no letter that is not explained."""
    text = run("compare", "hotplug.vhe", "--policy", "linux-6.14")
    lanes = [line.split()[1] for line in text.splitlines() if re.match(r"CPU\d+ ", line)]
    assert [len(lane) for lane in lanes] == [75, 75]
    said = " ".join(text.partition("registers: ")[2].split())
    assert {part[0] for part in said.split(", ")} == set("".join(lanes))
    assert "whose values" not in run("compare", "hotplug.vhe", "--policy", "linux-6.14,eager")


def test_validate_is_exact_or_exits_with_1() -> None:
    """Exit code 0 and the word exact, or 1 and the first difference."""
    assert "exact" in run("validate", "mmio-int.vhe")
    assert "differs" in run("validate", "mmio-int.vhe", "--policy", "linux-4.18", code=1)
    data = json.loads(run("validate", "mmio-int.vhe", "--json"))
    assert data["exact"] is True
    assert data["events"]["hw_save"] == {"predicted": 311, "observed": 311, "missed": 0, "extra": 0}


def test_validate_tries_all_kernels_on_request(tmp_path: Path) -> None:
    """Code 0 and who is exact, or 1 and the nearest; with --json all of them."""
    data = json.loads(run("validate", "hvc-fp.vhe", "--policy", "auto", "--json"))
    assert (data["schema"], data["exact"], data["policy"]) == ("fpstate.validate/1", True, data["tried"][0]["policy"])
    assert {"policy", "kernels", "exact", "missed", "extra"} == set(data["tried"][0])
    assert "linux-6.1.y" in [each["policy"] for each in data["tried"] if each["exact"]]
    lines = gzip.decompress(sample_path("hvc-fp.vhe").read_bytes()).decode().splitlines(keepends=True)
    last = max(i for i, line in enumerate(lines) if "task_fpsimd_load" in line)
    less = tmp_path / "less.trace.txt"
    less.write_text("".join(lines[:last] + lines[last + 1 :]))
    text = run("validate", str(less), "-p", "auto", code=1)
    assert "this kernel behaves as none of them; the nearest is linux-6." in " ".join(text.split())
    assert "differs; first on CPU" in text


def test_policies_lists_and_prints_a_decision_table() -> None:
    """All policies with their source; one as a table."""
    assert "e6b673b741ea" in run("policies").replace("\n", "")
    assert "task.foreign = True" in run("policies", "linux-4.18")
    data = json.loads(run("policies", "eager", "--json"))
    assert {"event", "when", "then"} == set(data["rules"][0])


def test_import_and_describe_round_trip(tmp_path: Path) -> None:
    """What was imported once compares like the text it came from."""
    from fpstate.traces.samples import sample_path

    target = tmp_path / "x.parquet"
    run("import", str(sample_path("hvc-fp.vhe")), "-o", str(target))
    text, columns = (json.loads(run("compare", t, "-p", "eager", "--json")) for t in ("hvc-fp.vhe", str(target)))
    assert text["policies"] == columns["policies"]
    described = json.loads(run("describe", str(target), "--json"))
    assert described["schema"] == "fpstate.describe/1"
    assert described["events"]["guest_enter"] == 1030


def test_output_is_the_same_twice() -> None:
    """Nothing in the output depends on time or chance."""
    assert run("compare", "hvc-fp.vhe", "--json") == run("compare", "hvc-fp.vhe", "--json")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["compare", "--policy", "linux-4.81"], "did you mean 'linux-4.18'"),
        (["compare", "--costs", "altra"], "did you mean 'altra-vhe'"),
        (["compare", "missing.txt"], "no file 'missing.txt'"),
        (["compare", "contended.vh"], "did you mean 'contended.vhe'"),
        (["validate", "hvc-fp.vhe", "--policy", "nothing.py:Mine"], "no file 'nothing.py'"),
        (["policies", "eger"], "did you mean 'eager'"),
        (["costs", "altra-vhee"], "did you mean 'altra-vhe'"),
        (["describe", "."], "."),
    ],
)
def test_a_wrong_name_is_one_clear_error(words: list[str], said: str) -> None:
    """Exit code 2, one message with the nearest valid name."""
    message = run(*words, code=2)
    assert said in message
    assert message.count("fpstate:") - message.count("compiling") == 1


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(range(256)) * 20, b"hello\nworld\n"])
@pytest.mark.parametrize("command", ["compare", "validate", "describe", "import"])
def test_a_file_that_is_no_trace_is_one_clear_error(command: str, content: bytes, tmp_path: Path) -> None:
    """An empty file, a picture and a text: each is refused by name, and nothing is written."""
    given = tmp_path / "given"
    given.write_bytes(content)
    message = run(command, str(given), code=2, cwd=tmp_path)
    assert str(given) in message
    assert [p.name for p in tmp_path.iterdir()] == ["given"]


def test_check_finds_shows_and_follows_a_path() -> None:
    """Violated is exit code 1 with a table and a code; the code leads there again; --pytest prints a test."""
    words = ["check", "defer-to-put", "--cpus", "1", "--tasks", "1", "--vcpus", "1"]
    text = run(*words, code=1)
    assert "softirq_neon_begin" in text
    assert "decided at step" in text
    data = json.loads(run(*words, "--json", code=1))
    assert data["schema"] == "fpstate.check/1"
    assert (data["verdict"], len(data["path"])) == ("violated", data["depth"])
    again = json.loads(run(*words, "--path", data["code"], "--json", code=1))
    assert again["path"] == data["path"]
    assert f"'{data['code']}'" in run(*words, "--pytest", code=1)


def test_check_exit_codes() -> None:
    """Holds is 0, incomplete and not reached are 3, an impossible scope is 2."""
    assert "holds" in run("check", "eager", "--cpus", "1", "--tasks", "1", "--vcpus", "1")
    run("check", "linux-4.18", "--max-states", "100", code=3)
    run("check", "linux-4.18", "--events", "all,-guest_enter", "--cpus", "1", code=3)
    assert "1 to 4" in run("check", "eager", "--cpus", "0", code=2)
    assert "did you mean 'neon'" in run("check", "eager", "--events", "neonn", code=2)
    assert "did you mean 'integrity'" in run("check", "eager", "--property", "integrty", code=2)


def test_bugs_by_name() -> None:
    """One bug, its pair checked; an unknown one is refused with the nearest."""
    data = json.loads(run("bugs", "A1", "--json"))
    assert [(b["id"], b["faulty"], b["fixed"]) for b in data["bugs"]] == [("A1", "violated", "holds")]
    assert "did you mean" in run("bugs", "A11x", code=2)


def test_the_printed_test_passes_as_it_is(tmp_path: Path) -> None:
    """What --pytest prints is a test of the same scope, vCPUs and kernel threads in their places."""
    scope = ["--cpus", "1", "--tasks", "1", "--vcpus", "1", "--kthreads", "0", "--events", "base,kvm,neon"]
    text = run("check", "defer-to-put", *scope, "--pytest", code=1)
    (tmp_path / "test_it.py").write_text(text)
    assert "Scope(1, 1, 1, 0, " in text
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "1 passed" in done.stdout
