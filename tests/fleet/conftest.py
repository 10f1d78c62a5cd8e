"""What tests of fleets share: small traces, and policies whose handlers do what none should."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fleet.made import traces_in

OWN = """
import os, signal, time
from pathlib import Path
from fpstate.policies.eager import Eager

FLAG = Path(__file__).with_name("flag")

class Mine(Eager):
    pass

class DiesOnce(Eager):
    name = "dies-once"
    def guest_exit(self, cpu, task, vcpu):
        try:
            FLAG.unlink()
        except FileNotFoundError:
            super().guest_exit(cpu, task, vcpu)
        else:
            os.kill(os.getpid(), signal.SIGKILL)

class Dies(Eager):
    name = "dies"
    def guest_exit(self, cpu, task, vcpu):
        os.kill(os.getpid(), signal.SIGKILL)

class Slow(Eager):
    name = "slow"
    def guest_exit(self, cpu, task, vcpu):
        time.sleep(0.05)
        super().guest_exit(cpu, task, vcpu)

class Raises(Eager):
    name = "raises"
    def guest_exit(self, cpu, task, vcpu):
        raise ValueError("no such luck")
"""


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """Return a folder with eight made-up traces."""
    return traces_in(tmp_path / "traces", 8)


@pytest.fixture
def own(tmp_path: Path) -> str:
    """Return the path of a file of policies; beside it, `flag` is what DiesOnce looks for."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "own.py").write_text(OWN)
    return str(folder / "own.py")
