"""Pages of the site that are made from the package: each policy, the bugs of each system, the notebook, the interface.

They are written to docs/generated/, which is not kept: `make docs` makes them anew.
"""

from __future__ import annotations

import inspect
import json
import pkgutil
import re
import shutil
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

from drawing import drawn, picture

import fpstate.policies.bugs
from fpstate.check.gallery import left_out
from fpstate.check.run import check
from fpstate.notebook import html_table
from fpstate.paths.blame import ending
from fpstate.paths.scope import Scope
from fpstate.paths.tell import table
from fpstate.policies.base import Policy, with_features
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.catalogue import about, bugs, policies
from fpstate.rows.decisions import decision_table, in_rows

HERE = Path(__file__).resolve().parent
INTERFACE = {
    "Functions": ("fpstate.api.compare", "fpstate.api.check", "fpstate.api.validate"),
    "Fleets": ("fpstate.fleet.asking.compare", "fpstate.fleet.asking.check", "fpstate.fleet.asking.run",
        "fpstate.fleet.asking.search", "fpstate.fleet.go.Asked", "fpstate.fleet.checking.Scopes",
        "fpstate.fleet.running.Machines", "fpstate.fleet.searching.Searches", "fpstate.fleet.where.Where"),
    "What is refused": ("fpstate.errors.FpstateError",),
    "What compare returns": (
        "fpstate.replay.told.Comparisons", "fpstate.replay.compare.Comparison", "fpstate.replay.compare.Compared",
        "fpstate.replay.compare.Figures", "fpstate.replay.compare.Broken",
    ),
    "What check returns": (
        "fpstate.check.run.Result", "fpstate.paths.scope.Scope", "fpstate.paths.tell.Path", "fpstate.paths.tell.Step",
    ),
    "What validate returns": ("fpstate.replay.validate.Validation", "fpstate.replay.validate.Difference"),
    "What a policy is made of": ("fpstate.policies.base.Policy",),
}  # fmt: skip
"""What can be used from Python, by heading."""
OF_NAMES = (
    "[From Python](../api.md) shows how these are used. `compare`, `check`, `validate` and `FpstateError` are names of "
    "`fpstate` itself. `ATrace` is a path, the name of a bundled recording, or a `Trace`; `APolicy` is a name, the id "
    "of a bug, FILE.py:CLASS, or a subclass of `Policy`."
)
MEMBERS = ("members:", "undoc-members:", "exclude-members: __init__, __new__")
BUGS = (
    "Each is a pair of policies: the fault as it was, and its fix. `fpstate bugs` checks that the one breaks and the "
    "other holds; a bug's id names its faulty policy in every command. "
    "[How bugs are checked](../check.md#historical-bugs)"
)


def write(folder: Path, *, searched: bool) -> None:
    """Write all pages; without `searched`, those of bugs have no path and those of policies no drawing."""
    shutil.rmtree(folder, ignore_errors=True)
    made = {
        "policies": policies_page(),
        "bugs": bugs_page(),
        "interface": interface_page(),
        "notebook": notebook_page(),
    }
    made |= {f"policy-{name}": policy_page(policy, searched=searched) for name, policy in policies().items()}
    made |= {f"bugs-{system}": system_page(system, of, searched=searched) for system, of in by_system().items()}
    folder.mkdir()
    for name, text in made.items():
        (folder / f"{name}.md").write_text(text.rstrip() + "\n")


def plain(text: str) -> str:
    """Return text as Markdown that means that text."""
    return re.sub(r"([\\`*_{}\[\]<>#|$~])", r"\\\1", " ".join(text.split()))


def prose(text: str) -> str:
    """Return paragraphs of a docstring as Markdown; what stands between backticks there is code."""
    parts = re.split(r"(`[^`\n]+`)", inspect.cleandoc(text))
    return "".join(part if part.startswith("`") else _paragraphs(part) for part in parts)


def _paragraphs(text: str) -> str:
    return re.sub(r"([\\*_{}\[\]<>#|$~])", r"\\\1", text)


def rows_as_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table of text."""
    lines = [heads, ["---"] * len(heads), *([plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def code_of(module: str) -> str:
    """Return the source of a module as a block of code."""
    return f"```python\n{inspect.getsource(import_module(module)).rstrip()}\n```"


def policies_page() -> str:
    """Return the page that lists the policies."""
    known = [about(p) for p in policies().values()]
    rows = [f"| [{p['name']}](policy-{p['name']}.md) | {plain(p['title'])} | {plain(p['source'])} |" for p in known]
    about_them = "How kernels and hypervisors decide, and what was proposed; each drawn, as decisions, and as code."
    contents = _contents(f"policy-{p['name']}" for p in known)
    return "\n".join(
        [
            "# The policies",
            "",
            about_them,
            "",
            "| policy | what it does | source |",
            "|---|---|---|",
            *rows,
            "",
            contents,
        ]
    )


def policy_page(policy: type[Policy], *, searched: bool) -> str:
    """Return the page of a policy: what it is, its source, its states, its decision table, its code."""
    p = about(policy)
    beyond = ", ".join(f"`{feature}`" for feature in p["supports"]) or "nothing"
    rules = in_rows(decision_table(policy))
    doc = inspect.getdoc(policy) or ""
    place = policy.__module__.replace(".", "/") + ".py"
    return f"""# {p["name"]}

{prose(doc)}

| | |
|---|---|
| kernels | {plain(p["kernels"] or "none")} |
| source | {plain(p["source"])} |
| gives up | {plain(", ".join(p["gives_up"]) or "nothing")} |
| beside FPSIMD | {beyond} |
| try it | `fpstate check {p["name"]}`, `fpstate compare -p {p["name"]}` |

{_states(policy) if searched else ""}

## Decisions

For each event, what the handler reads, and what is then done (`fpstate policies {p["name"]}`).

{rows_as_table(("event", "when", "then"), rules)}

## Code

`src/{place}`; what is not here is inherited from the hosts it imports.

{code_of(policy.__module__)}
"""


def _states(policy: type[Policy]) -> str:
    """Return the drawing of a policy, with its legend."""
    svg, legend = picture(drawn(policy))
    return f"""## States

One CPU, one task and, where there are guests, one vCPU, with FPSIMD alone, in all orders of system calls, guest runs
and kernel NEON. Where an arrow has a number, registers are moved or change hands.

{_raw(svg)}

{rows_as_table(("", "from and to", "what happens"), legend)}
"""


def _raw(html: str) -> str:
    return f"```{{raw}} html\n<div class='wide'>{html}</div>\n```"


def by_system() -> dict[str, list[Bug]]:
    """Return the bugs of each system, a folder of fpstate.policies.bugs."""
    known = list(bugs().values())
    systems = [info.name for info in pkgutil.iter_modules(fpstate.policies.bugs.__path__) if info.ispkg]
    return {name: [bug for bug in known if bug.faulty.__module__.split(".")[-2] == name] for name in systems}


def title_of(system: str) -> str:
    """Return what a folder of bugs says it is about."""
    doc = import_module(f"fpstate.policies.bugs.{system}").__doc__ or system
    return doc.strip().rstrip(".")


def bugs_page() -> str:
    """Return the page that lists all bugs by system, and those that are left out."""
    parts = ["# The bugs of history", "", BUGS]
    for system, of in by_system().items():
        parts += ["", f"## {plain(title_of(system))}", "", "| bug | what went wrong | breaks |", "|---|---|---|"]
        parts += [f"| [{b.id}](bugs-{system}.md#{anchor(b)}) | {plain(b.title)} | {b.property} |" for b in of]
    parts += ["", "## Left out", "", "What the world cannot express ([what is modelled](../modelled.md)).", ""]
    missing = [(b.id, b.title, b.reason) for b in left_out()]
    parts.append(rows_as_table(("bug", "what went wrong", "why it is left out"), missing))
    return "\n".join([*parts, "", _contents(f"bugs-{system}" for system in by_system())])


def anchor(bug: Bug) -> str:
    """Return the name by which the section of a bug is linked."""
    return f"bug-{bug.id.lower()}"


def system_page(system: str, of: list[Bug], *, searched: bool) -> str:
    """Return the page of the bugs of one system."""
    return "\n\n".join([f"# Bugs: {plain(title_of(system))}", *(bug_section(bug, searched=searched) for bug in of)])


def bug_section(bug: Bug, *, searched: bool) -> str:
    """Return what there is to say of a bug: its story, the shortest path that shows it, both sides, the fix."""
    module = import_module(bug.faulty.__module__)
    story = (module.__doc__ or "").partition(":")[2].strip()
    told = "\n\n".join(text[:1].upper() + text[1:] for text in (story, bug.note) if text)
    scope = Scope(bug.cpus, bug.tasks, bug.vcpus, bug.kthreads, bug.events)
    features = f"; features {', '.join(bug.features)}" if bug.features else ""
    return f"""({anchor(bug)})=
## {bug.id}: {plain(bug.title)}

{prose(told)}

| | |
|---|---|
| breaks | {bug.property}, at {plain(scope.counted() + features)} |
| the fault | {plain(_doc(bug.faulty))} |
| the fix | {plain(_doc(bug.fixed))} |
| fixed by | {plain(bug.fix)} |
| try it | `fpstate bugs {bug.id}`, `fpstate check {bug.id}` |

{path_of(bug, scope) if searched else ""}

<details><summary>Both sides in code: src/{module.__name__.replace(".", "/")}.py</summary>

{code_of(module.__name__)}

</details>"""


def _doc(policy: type[Policy]) -> str:
    return vars(policy).get("__doc__") or "-"


def path_of(bug: Bug, scope: Scope) -> str:
    """Return the shortest path on which the fault shows, found now."""
    result = check(with_features(bug.faulty, bug.features), scope, properties=(bug.property,))
    assert result.path, bug.id
    heads, rows = table(result.path.steps, range(scope.cpus))
    below = ending(result.path.wrong, result.path.blame)
    return html_table(f"The shortest path: {len(rows)} steps", heads, rows, below=below)


def interface_page() -> str:
    """Return the reference of what can be used from Python."""
    parts = ["# The Python interface", "", OF_NAMES]
    for heading, names in INTERFACE.items():
        parts += ["", f"## {heading}", "", "```{eval-rst}"]
        for name in names:
            module, _, own = name.rpartition(".")
            found = getattr(import_module(module), own)
            members = [f"   :{option}" for option in MEMBERS] if inspect.isclass(found) else []
            parts += [f".. {'autoclass' if members else 'autofunction'}:: {name}", *members, ""]
        parts.append("```")
    return "\n".join(parts)


def notebook_page() -> str:
    """Return the notebook as a page: its text, code and outputs as they are kept."""
    cells = json.loads((HERE.parent / "examples/laboratory.ipynb").read_text())["cells"]
    return "\n\n".join(part for cell in cells for part in _cell(cell))


def _cell(cell: dict[str, object]) -> Iterator[str]:
    text = "".join(cell["source"])  # type: ignore[arg-type]
    if cell["cell_type"] == "markdown":
        yield text
        return
    yield f"```python\n{text}\n```"
    for output in cell["outputs"]:  # type: ignore[attr-defined]
        data = output.get("data", {})
        if "text/html" in data:
            yield "".join(data["text/html"])
        else:
            yield f"```\n{''.join(data.get('text/plain') or output['text']).rstrip()}\n```"


def _contents(names: Iterator[str]) -> str:
    return "\n".join(["```{toctree}", ":hidden:", "", *names, "```"])
