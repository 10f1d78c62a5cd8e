/*
 * Kernel-mode NEON: a hash over the page at 0x7000000 that uses all V registers, in two halves, as kernel code does that
 * can be preempted in between. x0: address, x1: bytes (a multiple of 16). The second half returns the hash in x0.
 */
    .global _start
    .global hash_begin
    .global hash_end

    .macro mix n
    add v\n\().2d, v\n\().2d, v0.2d
    ushr v31.2d, v\n\().2d, #29
    eor v0.16b, v0.16b, v31.16b
    eor v0.16b, v0.16b, v\n\().16b
    .endm

_start:
hash_begin:
    movz x3, #0x7c15
    movk x3, #0x7f4a, lsl #16
    movk x3, #0x79b9, lsl #32
    movk x3, #0x9e37, lsl #48
    mov x4, #0
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    add x4, x4, x3
    dup v\n\().2d, x4
    .endr
    msr fpcr, xzr
    msr fpsr, xzr
    mov x30, #0
    b absorb

hash_end:
    mov x30, #1
absorb:
    ldr q31, [x0], #16
    eor v0.16b, v0.16b, v31.16b
    .irp n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    mix \n
    .endr
    subs x1, x1, #16
    b.ne absorb
    cbz x30, 1f
    .irp n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    eor v0.16b, v0.16b, v\n\().16b
    .endr
    fmov x0, d0
    umov x2, v0.d[1]
    eor x0, x0, x2
1:  svc #0
    brk #0
