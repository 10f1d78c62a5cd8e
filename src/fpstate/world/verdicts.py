"""What can go wrong at an event or use: the numbers that steps answer, and what each says of the context it befell."""

from __future__ import annotations

from typing import Final

from fpstate.world.state import FPEXC, FPMR, ZA, ZCR, Z

OK: Final = 0
LEAKING_FRAME: Final = 1  # a signal frame was built from another's values
WRONG_VALUE: Final = 2  # somebody read a value of V that is not his latest
MODE_AT_DOWN: Final = 3  # a CPU goes down in streaming mode, or with ZA enabled: less than whatever else is wrong then
STALE_FRAME: Final = 4  # a signal frame was built from an old image
KERNEL_VALUE_LOST: Final = 5  # kernel-mode FP code found other values than it wrote
NULL_POINTER: Final = 6  # kernel code saved to, or loaded from, nobody
USE_AFTER_FREE: Final = 7  # kernel code saved to, or loaded from, a context that no longer exists
NO_STORAGE: Final = 8  # the same with storage that was never allocated; this and the rest: worlds with more features
WRONG_LENGTH: Final = 9
WRONG_MODE: Final = 10
WARNED: Final = 11
KERNEL_TRAPS: Final = 12
TRAPS_AGAIN: Final = 13  # a use traps again and again, however often its trap is served
TRAP_IN_KERNEL: Final = 14  # kernel code touches registers behind a trap that stops it, too
STALE_READ: Final = 15  # a debugger or the like read an old image
CLASS_WRONG: Final = 16  # + class: a value of that class that is not its reader's latest
CLASS_LEAKS: Final = 40  # + class: another's
LEAKING_READ: Final = 65  # a debugger or the like read another's values
TRAP_NOT_SERVED: Final = 66  # the trap is still armed after its handler
NOT_FOLLOWED: Final = 67  # something old goes where it is not looked at; only where one class of one context is
NO_ROW: Final = 100  # nothing has happened: the policy has not been asked this yet

IN_WORDS: dict[int, str] = {
    WRONG_VALUE: "reads a value that is not its latest",
    TRAPS_AGAIN: "traps again each time its trap has been served, so the use never comes about",
    TRAP_IN_KERNEL: "runs kernel code that traps itself: it touches the registers behind a trap that is armed",
    STALE_READ: "is read from outside, and an old image is shown",
    LEAKING_READ: "is read from outside, and another's values are shown",
    MODE_AT_DOWN: "sees its CPU go down in streaming mode, or with ZA enabled",
    TRAP_NOT_SERVED: "traps, and the handler leaves the trap armed",
    STALE_FRAME: "gets a signal frame built from an old image",
    LEAKING_FRAME: "gets a signal frame built from another's values",
    KERNEL_VALUE_LOST: "loses its kernel-mode FP values",
    NULL_POINTER: "saves to or loads from nobody",
    USE_AFTER_FREE: "saves to or loads from a context that no longer exists",
    NO_STORAGE: "saves to or loads from storage that was never allocated",
    WRONG_LENGTH: "finds another's vector length in force",
    WRONG_MODE: "finds the CPU in a streaming or ZA mode that is not its own",
    WARNED: "finds flags that contradict each other (WARN_ON)",
    KERNEL_TRAPS: "runs kernel code that traps itself: a trap was lifted, and no ISB came before the registers",
} | {
    leaks + k: f"reads {name} that {words}"
    for k, name in ((Z, "SVE registers"), (ZCR, "a vector length"), (ZA, "ZA"), (FPMR, "FPMR"), (FPEXC, "FPEXC"))
    for leaks, words in ((CLASS_WRONG, "are not its latest values"), (CLASS_LEAKS, "hold another's values"))
}
"""What each verdict says of the context it happened to."""
