"""Linux on MIPS."""
