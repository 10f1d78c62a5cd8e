#!/bin/sh
# Build the programs beside this file; needs Debian's gcc-aarch64-linux-gnu. The results are kept in the repository.
set -eu
cd "$(dirname "$0")"
cc="${CROSS:-aarch64-linux-gnu-}gcc"
flags="-O2 -std=gnu11 -Wall -Wextra -Werror -march=armv8-a -ffreestanding -fno-builtin -fno-pic -fno-asynchronous-unwind-tables
       -fno-stack-protector -ffp-contract=off -fno-tree-loop-distribute-patterns -mno-outline-atomics"
link="-nostdlib -static -no-pie -Wl,--build-id=none -Wl,-z,max-page-size=4096 -Wl,-z,separate-code -Wl,-z,noexecstack -s"
for name in matrix mandelbrot nbody fft sha256 chacha20 rounding vmm; do
    $cc $flags $link -o "$name.elf" start.S "$name.c"
done
$cc $flags -march=armv8-a+sve $link -o sve.elf start.S sve.c
$cc $flags -mgeneral-regs-only $link -o fpregs.elf start.S pattern.S fpregs.c
# the kernel's hash is entered by the names of its halves; stripped by hand, so that no name of a temporary file stays
$cc $flags ${link% -s} -o kernel.elf kernel.S
${CROSS:-aarch64-linux-gnu-}strip -K hash_begin -K hash_end kernel.elf
$cc $flags $link -Wl,-e,pattern_use -o pattern.elf pattern.S
