"""Fleets: their table, their jobs, and Dask's workers for real."""
