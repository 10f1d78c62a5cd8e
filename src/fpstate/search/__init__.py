"""Policies found rather than written: holes filled in so that the policy holds and is cheap, faults mended by edits."""
