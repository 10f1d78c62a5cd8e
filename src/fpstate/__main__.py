"""`python -m fpstate`."""

from fpstate.cli.main import main

if __name__ == "__main__":
    main()
