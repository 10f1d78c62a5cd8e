/*
 * A pattern in all V registers that says whose it is. In generation g of context p, V<n> holds
 * p << 48 | g << 16 | n in its low half and the complement in its high half; in generation 0 it is all zeros.
 * V0 has a generation of its own, so that a single register can be changed from outside.
 */
    .global pattern_fill
    .global pattern_check
    .global pattern_use

    .macro all_registers does:req
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    \does \n
    .endr
    .endm

/* x9, x10: what register n must hold, from x2: p << 48, x3: generation of V0, x4: generation of the others */
    .macro expected n
    .if \n == 0
    orr x9, x2, x3, lsl #16
    cmp x3, #0
    .else
    orr x9, x2, x4, lsl #16
    cmp x4, #0
    .endif
    add x9, x9, #\n
    mvn x10, x9
    csel x9, x9, xzr, ne
    csel x10, x10, xzr, ne
    .endm

    .macro fill n
    expected \n
    fmov d\n, x9
    ins v\n\().d[1], x10
    .endm

    .macro check n
    expected \n
    mov x0, #\n
    fmov x11, d\n
    cmp x11, x9
    b.ne bad
    umov x11, v\n\().d[1]
    mov x9, x10
    cmp x11, x9
    b.ne bad
    .endm

/* pattern_fill(_, _, p << 48, g, g) */
pattern_fill:
    all_registers fill
    ret

/* long pattern_check(uint64_t *found, _, p << 48, g, g): the first wrong register, or -1; found: expected, got */
pattern_check:
    mov x5, x0
    all_registers check
    mov x0, #-1
    ret
bad:
    cbz x5, 1f
    stp x9, x11, [x5]
1:  ret

/* One use of FP along a path: check this generation, write the next, back to the kernel. x19, x20: generations. */
pattern_use:
    mrs x2, tpidr_el0
    lsl x2, x2, #48
    mov x3, x19
    mov x4, x20
    mov x5, #0
    mov x30, #0
    adr x30, 1f
    all_registers check
    mov x0, #-1
1:  mov x21, x0
    add x20, x20, #1
    mov x19, x20
    mov x3, x20
    mov x4, x20
    all_registers fill
    svc #0
    brk #0
