"""RISC-V, LoongArch and others: Linux, FreeBSD, FreeRTOS."""
