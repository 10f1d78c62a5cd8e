"""The gallery of historical bugs: each is caught where history recorded it, and each fix holds."""

from __future__ import annotations

import pytest

from fpstate.check.gallery import bugs, left_out, show
from fpstate.check.run import HOLDS, VIOLATED, replay_path
from fpstate.policies.base import with_features


@pytest.mark.parametrize("name", list(bugs()))
def test_the_faulty_policy_is_caught_and_the_fixed_one_holds(name: str) -> None:
    """The property named is broken on a path no longer than recorded; the same scope finds nothing in the fix."""
    shown = show(bugs()[name])
    assert shown.faulty.verdict == VIOLATED
    assert shown.faulty.property == shown.bug.property
    assert shown.faulty.depth <= shown.bug.steps
    assert shown.fixed.verdict == HOLDS
    assert shown.faulty.path is not None
    again = replay_path(
        with_features(shown.bug.faulty, shown.bug.features),
        shown.faulty.scope,
        shown.faulty.path.code,
        properties=(shown.bug.property,),
    )
    assert again.verdict == VIOLATED


def test_nothing_is_in_the_gallery_and_left_out_at_once() -> None:
    """Each recorded bug is in one of the two lists, with a reason if it is left out."""
    out = {b.id for b in left_out()}
    assert not out & set(bugs())
    assert len(bugs()) >= 70
    assert all(b.reason for b in left_out())
