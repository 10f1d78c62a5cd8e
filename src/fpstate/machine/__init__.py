"""An emulated AArch64 machine whose CPUs have one FP register file each, shared out by a policy."""
