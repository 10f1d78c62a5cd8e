"""Compiled code is kept, dropped when damaged, and not needed."""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import pytest

from fpstate.code_cache import CodeCache
from fpstate.jit import jit

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")


@pytest.fixture
def twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that lies in a file, as yet not compiled, with a cache of its own."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    file = tmp_path / "sums.py"
    file.write_text("def twice(n):\n    return n + n\n")
    spec = importlib.util.spec_from_file_location("sums", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.twice


def compiled(function: Any) -> tuple[int, int]:
    """Compile a function or take it from the cache, as a new process would; return a result and 1 for taken."""
    dispatcher: Any = jit(function)
    result = dispatcher(21)
    return result, sum(dispatcher.stats.cache_hits.values())


def test_compiled_code_is_taken_from_the_cache(twice: Any, tmp_path: Path) -> None:
    """The second time nothing is compiled, and nothing lies beside the source."""
    assert compiled(twice) == (42, 0)
    assert compiled(twice) == (42, 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "sums.py"]


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "text"])
def test_damaged_code_is_dropped_and_made_again(twice: Any, tmp_path: Path, suffix: str, damage: str) -> None:
    """Whatever a file holds now, the result is right, and the next time it is taken from the cache again."""
    compiled(twice)
    (file,) = (tmp_path / "cache").rglob(f"*{suffix}")
    whole = bytearray(file.read_bytes())
    at = random.Random(1).randrange(len(whole))
    whole[at] ^= 1
    changed = {"flipped": bytes(whole), "cut": bytes(whole[:at]), "empty": b"", "text": b"not code\n"}[damage]
    file.write_bytes(changed)
    assert compiled(twice) == (42, 0)
    assert compiled(twice) == (42, 1)


def test_a_folder_that_cannot_be_written_to_costs_a_note(
    twice: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One note for the process, and nothing is left in other places."""
    (tmp_path / "cache").write_text("a file where a folder should be")
    monkeypatch.setattr(CodeCache, "told", False)
    assert compiled(twice) == (42, 0)
    assert compiled(twice) == (42, 0)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith(f"fpstate: note: cannot keep compiled code in '{tmp_path}/cache': ")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "sums.py"]


def test_a_disk_that_is_full_later_costs_a_note(
    twice: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder was there, and what was compiled cannot be written."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(CodeCache, "told", False)
    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.save", full)
    assert compiled(twice) == (42, 0)
    assert "No space left on device: it is compiled anew" in capsys.readouterr().err


def test_a_program_is_told_once(tmp_path: Path) -> None:
    """However many functions there are whose code cannot be kept."""
    (tmp_path / "fpstate").write_text("in the way")
    words = [sys.executable, "-c", "import fpstate.check.expand, fpstate.replay.engine"]
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"} | {"XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0
    assert done.stderr.count("cannot keep compiled code") == 1
