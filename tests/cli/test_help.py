"""What --help says, what the shell completes, and how options are spelt: the same in every command."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fpstate.cli import complete
from fpstate.cli.main import COMMANDS, app
from fpstate.costs import profile_names
from fpstate.lab.apt import SUITES
from fpstate.lab.scenario import scenario_names
from fpstate.paths.properties import DEFAULT
from fpstate.policies.catalogue import bugs, policies
from fpstate.traces.samples import sample_names

SMALL = ["--cpus", "1", "--tasks", "1", "--vcpus", "1"]


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def document(*words: str) -> dict[str, object]:
    done = run(*words, "--json")
    assert done.exit_code in (0, 1), done.output
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_each_help_has_exit_codes_an_example_and_fits(command: str) -> None:
    text = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "80"}).stdout
    assert re.search(r"Exit\s+codes: 0 ", text)
    assert f"Example: fpstate {command}" in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_commands_come_in_the_order_of_the_readme() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text()
    assert list(dict.fromkeys(re.findall(r"^\| `fpstate (\w+)", text, re.MULTILINE))) == list(COMMANDS)
    assert re.findall(r"^  (\w+)  ", run("--help").stdout.partition("Commands:")[2], re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize(
    ("command", "option", "default"),
    [
        ("check", "--cpus", "2; with more registers than FPSIMD 1"),
        ("check", "--vcpus", "2; with more registers, or long counters, 1"),
        ("check", "--events", "all; with SVE all but ptrace"),
        ("check", "--cores", "2; 1<=x<=2"),
        ("run", "--cpus", "2]"),
        ("run", "--slice", "10000"),
        ("run", "--tasks", "one for each program"),
        ("compare", "--costs", "altra-vhe"),
        ("validate", "--policy", "that of the kernel recorded"),
        ("capture", "--output", "SCENARIO.MODE.trace.txt.gz"),
        ("import", "--output", "the trace's name with .parquet added"),
    ],
)
def test_defaults_are_shown(command: str, option: str, default: str) -> None:
    """In the paragraph of the option itself, not taken for markup."""
    text = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "80"}).stdout
    paragraph = re.search(rf"(?ms)^  (?:-\w, )?{option} .*?(?=^  -|\Z)", text)
    assert paragraph, text
    assert f"[default: {default}" in " ".join(paragraph[0].split())


def test_completion_knows_every_name_without_importing_anything() -> None:
    """Names are read from files; they are those that commands take."""
    assert set(complete.policies("")) == {*policies(), *bugs(), *(f"kernel:{name}" for name in SUITES)}
    assert complete.of_kernels("au") == ["auto"]
    assert set(complete.of_kernels("")) == {"auto", *complete.policies("")}
    assert complete.kernels("debian-6") == ["debian-6.1", "debian-6.12", "debian-6.12-rt"]
    assert complete.samples("") == sample_names()
    assert complete.scenarios("") == sorted(scenario_names())
    assert complete.profiles("") == profile_names()
    pytest.importorskip("elftools")
    from fpstate.machine.elf import NEEDS_SVE, bundled_names

    assert complete.programs("") == sorted([*bundled_names(), NEEDS_SVE])
    assert complete.policies("linux-6.14,linux-4.1") == ["linux-6.14,linux-4.15", "linux-6.14,linux-4.18"]
    heavy = "print({'numpy', 'numba', 'pyarrow'} & set(sys.modules))"  # whether for names or for --help
    code = f"import sys; from fpstate.cli import complete, main; complete.policies(''); {heavy}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_shell_is_answered() -> None:
    """As bash asks: the words so far, and which of them is being typed."""
    asked = {"_FPSTATE_COMPLETE": "complete_bash", "COMP_WORDS": "fpstate compare -p linux-4.1", "COMP_CWORD": "3"}
    code = "import sys; sys.argv = ['fpstate']; from fpstate.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ | asked
    )
    assert done.stdout.split() == ["linux-4.15", "linux-4.18"], done.stderr


def test_a_policy_is_named_the_same_way_everywhere() -> None:
    """-p in all commands; in check and policies as an argument as well; a bug's id is one."""
    assert document("check", "eager", *SMALL)["policy"] == document("check", "-p", "eager", *SMALL)["policy"] == "eager"
    assert document("policies", "-p", "A6")["policies"] == document("policies", "a6")["policies"]
    faulty = document("check", "A6")
    assert (faulty["verdict"], faulty["policy"]) == ("violated", "a6-faulty")
    assert document("compare", "hvc-fp.vhe", "-p", "A6")["policies"][0]["name"] == "a6-faulty"  # type: ignore[index]
    assert document("validate", "hvc-fp.vhe", "-p", "A6")["policy"] == "a6-faulty"


def test_a_bug_by_its_id_is_checked_where_its_fault_shows() -> None:
    """Its scope and its property, also one that makes no policy wrong by itself; what --path shows is the same."""
    bug = next(b for b in bugs().values() if b.property not in DEFAULT)
    found = document("check", bug.id)
    assert (found["verdict"], found["property"]) == ("violated", bug.property)
    assert document("check", bug.id, "--path", str(found["code"]))["property"] == bug.property


def test_lists_are_by_comma_or_repeated() -> None:
    names = [["-p", "eager,linux-6.14"], ["-p", "eager", "-p", "linux-6.14"], ["-p", " eager, linux-6.14 ,"]]
    one, *others = (document("compare", "hvc-fp.vhe", *n)["policies"] for n in names)
    assert [one] * 2 == others
    events = [["--events", "base,neon"], ["--events", "base", "--events", "neon"]]
    assert len({str(document("check", "eager", *SMALL, *e)["scope"]) for e in events}) == 1
    wanted = [["--property", "integrity,memory-safety"], ["--property", "integrity", "--property", "memory-safety"]]
    assert len({str(document("check", "eager", *SMALL, *w)["states"]) for w in wanted}) == 1


def test_own_files_by_comma(tmp_path: Path) -> None:
    """FILE.py:CLASS may stand in a list, and its path may have a comma."""
    own = tmp_path / "a,b.py"
    own.write_text("from fpstate.policies.eager import Eager\nclass Mine(Eager):\n    pass\n")
    other = tmp_path / "c.py"
    other.write_text(own.read_text().replace("Mine", "Other"))
    for given, found in ((f"{own}:Mine", ["Mine"]), (f"{other}:Other,eager", ["Other", "eager"])):
        shown = document("compare", "hvc-fp.vhe", "-p", given)["policies"]
        assert [p["name"] for p in shown] == found  # type: ignore[attr-defined]


def test_list_needs_nothing_else() -> None:
    """Events, properties and features; one of them by its option, as before."""
    assert set(document("check", "--list")) == {"schema", "groups", "properties", "features"}
    assert set(document("check", "--features", "list")) == {"schema", "features"}
    assert "hotplug" in run("check", "--list").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("check", "no policy given"),
        ("check eager -p eager", "two policies"),
        ("check --list eager", "a policy has no effect with --list"),
        ("check eager --path 0 --max-states 5", "--max-states has no effect with --path"),
        ("check eager --path 0 --no-fold", "--no-fold has no effect with --path"),
        ("check eager --pytest --json", "--json has no effect with --pytest"),
        ("capture --list --doctor", "--list has no effect with --doctor"),
        ("capture short --list", "a scenario has no effect with --list"),
        ("run --path 0 --seed 4", "--seed has no effect with --path"),
        ("run --features sve", "--features has no effect without --path"),
        ("run --vl 64 --vector-length 64", "are the same"),
        ("run -p A22", "needs sme, sve; expected one of FPSIMD and SVE"),
        ("run --trace /no/such/folder/x", "there is no such folder"),
    ],
)
def test_what_would_be_ignored_is_refused(words: str, said: str) -> None:
    done = run(*words.split())
    assert said in str(done.exception), done.output


def test_a_method_that_nothing_calls_is_told(tmp_path: Path) -> None:
    """The name of another kernel's function; helpers that are called, and the package's own, are no news."""
    own = tmp_path / "own.py"
    own.write_text(
        "from fpstate.policies.eager import Eager\n"
        "class Own(Eager):\n"
        "    def vcpu_sched_out(self, cpu, task, vcpu):\n"
        "        self.helper(cpu)\n"
        "    def helper(self, cpu):\n"
        "        pass\n"
    )
    done = run("check", f"{own}:Own", *SMALL)
    assert done.exit_code == 0
    assert done.stderr.count("nothing calls method") == 1
    assert "own.py:3: nothing calls method 'vcpu_sched_out'" in done.stderr
    assert not run("check", "examples/lazy.py:LazyMigrating", "--cpus", "1", "--events", "base").stderr


def test_holds_says_where() -> None:
    """The scope is part of the verdict, and that it is smaller than the default is said if it is."""
    small = run("check", "eager", *SMALL).stdout
    assert "\nholds at 1 CPU, 1 task, 1 vCPU, all events: " in small
    assert "smaller than the default scope: 2 CPUs, 2 tasks, 2 vCPUs, all events" in " ".join(small.split())
    fewer = run("check", "examples/lazy.py:LazyMigrating", "--events", "base").stdout
    assert "smaller than the default scope: 2 CPUs, 2 tasks, all events" in fewer
    assert "smaller" not in run("check", "N2").stdout


def test_again_can_be_pasted(tmp_path: Path) -> None:
    """A path with blanks and a semicolon is quoted."""
    own = tmp_path / "o wn;x.py"
    own.write_text("from fpstate.policies.defer_to_put import DeferToPut\nclass Own(DeferToPut):\n    pass\n")
    text = run("check", f"{own}:Own", *SMALL).stdout
    again = next(line for line in text.splitlines() if line.startswith("again: "))
    assert f"'{own}:Own'" in again


def test_results_are_shown_though_the_trace_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A full disk at the end of a run does not cost its results."""
    pytest.importorskip("unicorn")
    from fpstate.errors import FpstateError

    def full(*_: object) -> None:
        raise FpstateError("no space left")

    monkeypatch.setattr("fpstate.traces.parquet.write_parquet", full)
    done = run("run", "rounding", "--vcpus", "0", "--cpus", "1", "--trace", str(tmp_path / "x"))
    assert done.exit_code == 2
    assert "identical" in done.stdout
    assert done.stderr == "fpstate: no space left\n"
