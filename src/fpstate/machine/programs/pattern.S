/*
 * A pattern in all V registers that says whose it is. In generation g of context p, V<n> holds
 * p << 48 | g << 16 | n in its low half and the complement in its high half.
 */
    .global pattern_fill
    .global pattern_check
    .global pattern_use

    .macro all_registers does:req
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    \does \n
    .endr
    .endm

/* x9, x10: what register n must hold, from x2: p << 48, x4: g */
    .macro expected n
    orr x9, x2, x4, lsl #16
    add x9, x9, #\n
    mvn x10, x9
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

/* pattern_fill(_, _, p << 48, g) */
pattern_fill:
    mov x4, x3
    all_registers fill
    ret

/* long pattern_check(uint64_t *found, _, p << 48, g): the first wrong register, or -1; found: expected, got */
pattern_check:
    mov x5, x0
    mov x4, x3
    all_registers check
    mov x0, #-1
    ret
bad:
    cbz x5, 1f
    stp x9, x11, [x5]
1:  ret

/*
 * One use of FP along a path: check all registers, write the next generation, back to the kernel with the first wrong
 * register (or -1) in x0. x19: g, x22: p, x20 and x23: what V0 must hold, which may have been changed from outside.
 */
pattern_use:
    lsl x2, x22, #48
    mov x4, x19
    mov x5, #0
    adr x30, 1f
    mov x0, #0
    fmov x11, d0
    cmp x11, x20
    b.ne 1f
    umov x11, v0.d[1]
    cmp x11, x23
    b.ne 1f
    .irp n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    check \n
    .endr
    mov x0, #-1
1:  mrs x22, tpidr_el0
    lsl x2, x22, #48
    add x19, x19, #1
    mov x4, x19
    all_registers fill
    expected 0
    mov x20, x9
    mov x23, x10
    svc #0
    brk #0
