"""The capture on the emulated machine, and its parts without one."""
