"""Many answers at once: what `compare`, `check`, `run` and `search` say of all combinations, as rows of one table.

A combination is an `Ask`, one row of the table; a `Job` is what one worker does at a time. `go` takes jobs through this
process or through Dask's workers (`cluster`), and keeps rows as they come (`table`).
"""
