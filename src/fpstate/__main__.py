"""`python -m fpstate`."""

from fpstate.cli.main import main

main()
