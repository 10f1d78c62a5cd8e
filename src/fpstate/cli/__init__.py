"""The command line: one short file per command, each a function `command`."""
