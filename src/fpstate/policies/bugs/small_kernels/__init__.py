"""Zephyr, Genode, NuttX, RIOT."""
