"""Linux on arm64: tasks, kernel-mode NEON, SVE and SME."""
