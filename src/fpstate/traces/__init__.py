"""Recordings of real kernels, read into columns."""
