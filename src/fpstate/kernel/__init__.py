"""Policies that are a kernel's own code: its functions, run out of a dump of a booted image, one view at a time."""
