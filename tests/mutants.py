"""Would the tests notice? Single changes of the program's own code, made at random, and the tests that fail for each.

Run: python -m tests.mutants [--count N] [--seed S]. A mutant is *killed* when a test fails, other than those that only
compare a document with what its commands print; what *survives* is printed, for somebody to write the test or to see
that the change means nothing. Changes come from cosmic-ray. They are made in a copy of the project.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
SKIPPED_TESTS = ("tests/cli/test_docs.py", "tests/capture/test_real.py")
"""Tests of documents, and captures in an emulator, which take long."""
MEANINGLESS = ("RemoveDecorator", "ExceptionReplacer")
"""Operators whose changes are mostly no program any more (an uncompiled function, an unheard-of exception)."""
LIMIT_SECONDS = 1800
Place = tuple[int, int]


@dataclass(frozen=True)
class Change:
    """One change that can be made: of `file`, by an operator of cosmic-ray, at the place numbered `occurrence`."""

    file: Path
    operator: str
    occurrence: int
    place: Place


def changes(file: Path) -> dict[Place, list[Change]]:
    """Return all changes of a file by line and column; none in annotations, which nothing evaluates."""
    import cosmic_ray.plugins as plugins
    from cosmic_ray.ast import ast_nodes, get_ast_from_path

    tree, dead = get_ast_from_path(file), set(annotated(ast.parse(file.read_text())))
    found: dict[Place, list[Change]] = {}
    for name in plugins.operator_names():
        kind = plugins.get_operator(name)
        if kind.arguments() or any(word in name for word in MEANINGLESS):
            continue
        places = (place for node in ast_nodes(tree) for place, _ in kind().mutation_positions(node))
        for i, place in enumerate(places):
            if place not in dead:
                found.setdefault(place, []).append(Change(file, name, i, place))
    return found


def annotated(tree: ast.AST) -> Iterator[Place]:
    """Yield the places of all names and operators in annotations."""
    for node in ast.walk(tree):
        for part in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            for inner in ast.walk(part) if part is not None else ():
                if hasattr(inner, "lineno"):
                    for column in range(inner.col_offset, (inner.end_col_offset or inner.col_offset) + 1):  # type: ignore[attr-defined]
                        yield inner.lineno, column


def draw(root: Path, count: int, seed: int) -> list[Change]:
    """Return so many changes of the package: a place is drawn among all, and then one of its changes."""
    dice = random.Random(seed)
    every = {
        (str(file), place): some
        for file in sorted((root / "src/fpstate").rglob("*.py"))
        for place, some in changes(file).items()
    }
    return [dice.choice(every[key]) for key in dice.sample(sorted(every), min(count, len(every)))]


def tests_for(root: Path, file: Path) -> list[str]:
    """Return the files of tests, those that name the changed module or its package first."""
    module = ".".join(file.relative_to(root / "src").with_suffix("").parts)
    package = module.rpartition(".")[0]

    def distance(test: Path) -> tuple[int, str]:
        text = test.read_text()
        near = 0 if f"{module} " in text or f"{module}." in text else 1 if f"{package}." in text else 2
        return near, str(test)

    tests = sorted((root / "tests").rglob("test_*.py"), key=distance)
    return [str(t.relative_to(root)) for t in tests if str(t.relative_to(root)) not in SKIPPED_TESTS]


def try_change(root: Path, change: Change, environment: dict[str, str]) -> tuple[str, str]:
    """Make a change, run the tests, and take it back; return the first test that failed, if any, and the new line."""
    import cosmic_ray.plugins as plugins
    from cosmic_ray.mutating import use_mutation

    words = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-n",
        "2",
        "-p",
        "no:cacheprovider",
        "--no-header",
        "-m",
        "not long",
    ]
    with use_mutation(change.file, plugins.get_operator(change.operator)(), change.occurrence):
        line = change.file.read_text().splitlines()[change.place[0] - 1].strip()
        try:
            done = subprocess.run(
                [*words, *tests_for(root, change.file)], cwd=root, env=environment, text=True, capture_output=True,
                timeout=LIMIT_SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return "the time limit", line
    failed = [text for text in done.stdout.splitlines() if text.startswith(("FAILED", "ERROR"))]
    return (failed or ["nothing was run"])[0].split(" - ")[0] if done.returncode else "", line


def main() -> None:
    """Try mutants one after the other; exit with 1 if fewer than 95 of 100 are killed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100, help="how many (default: 100)")
    parser.add_argument("--seed", type=int, default=1, help="of the draw (default: 1)")
    args = parser.parse_args()
    say(f"{args.count} mutants, seed {args.seed}")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "project"
        left_out = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", ".hypothesis")
        shutil.copytree(ROOT, root, ignore=left_out)
        cache = Path(folder) / "cache"
        environment = os.environ | {"PYTHONPATH": str(root / "src"), "XDG_CACHE_HOME": str(cache)}
        survived = 0
        for number, change in enumerate(draw(root, args.count, args.seed), 1):
            began, kept = time.monotonic(), set(folders(cache))
            by, line = try_change(root, change, environment)
            survived += not by
            where = f"{change.file.relative_to(root)}:{change.place[0]}"
            fate = f"killed by {by}" if by else "SURVIVED"
            say(f"{number} {where} {change.operator.removeprefix('core/')}: {line}")
            say(f"    {fate}, {time.monotonic() - began:.0f} s; {survived} have survived")
            if kept:
                drop(set(folders(cache)) - kept)
    sys.exit(survived * 20 > args.count)


def say(text: str) -> None:
    """Print a line now."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def folders(cache: Path) -> list[Path]:
    """Return the folders of compiled code: one for each state of the sources."""
    return list((cache / "fpstate").glob("*"))


def drop(some: set[Path]) -> None:
    """Remove folders of code that was compiled from changed sources."""
    for folder in some:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
