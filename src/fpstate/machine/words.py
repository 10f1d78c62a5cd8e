"""Which A64 words need what: FP registers, SVE, SME, or a register that the kernel reads for whoever asks.

Encodings: Arm ARM (DDI 0487) C4.1, and its lists of system registers in C5.2 and D19.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UDF = 0x0000FFFE

COUNTERS = {0xD53BE000: "CNTFRQ_EL0", 0xD53BE040: "CNTVCT_EL0", 0xD53BE0C0: "CNTVCTSS_EL0"}
"""Reads of the counter registers, by word, the destination left out."""
_ID_FIRST, _ID_LAST = 0xD5380400, 0xD53807E0  # MRS of op0 3, op1 0, CRn 0, CRm 4 to 7: the ID_* registers
ID_AA64PFR0 = 0xD5380400


def is_fp(words: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Tell which words CPACR_EL1.FPEN traps: SIMD and FP data processing, loads and stores, MRS/MSR FPCR, FPSR.

    Bits 27:26 of these groups are 11; FPCR and FPSR are S3_3_C4_C4_{0,1}.
    """
    found: NDArray[np.bool_] = ((words >> 26) & 3 == 3) | (words & 0xFFDFFFC0 == 0xD51B4400)
    return found


def is_read(words: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Tell which words read a counter or ID register."""
    base = words & 0xFFFFFFE0
    found: NDArray[np.bool_] = (base >= _ID_FIRST) & (base <= _ID_LAST)
    for word in COUNTERS:
        found |= base == word
    return found


def is_read_word(word: int) -> bool:
    """Tell the same of one word; it is asked at every trap."""
    base = word & 0xFFFFFFE0
    return _ID_FIRST <= base <= _ID_LAST or base in COUNTERS


def is_sve(word: int) -> bool:
    """Tell whether a word is in the SVE group (bits 28:25 are 0010), and not one of SME there."""
    return word >> 25 & 15 == 2 and not is_sme(word)


def is_sme(word: int) -> bool:
    """Tell whether a word needs SME: its group, SMSTART and SMSTOP, MRS and MSR of SVCR, RDSVL, ADDSVL and ADDSPL."""
    return (
        (word >> 31 == 1 and word >> 25 & 15 == 0)
        or (word & 0xFFFFF8FF == 0xD503407F and word >> 9 & 3 != 0)
        or word & 0xFFDFFFE0 == 0xD51B4240
        or word & 0xFFFFF800 == 0x04BF5800
        or word & 0xFFA0F800 == 0x04205800
    )
