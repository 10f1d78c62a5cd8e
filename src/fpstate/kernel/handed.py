"""What user mode and debuggers hand to a kernel: a signal frame, and registers of SVE as ptrace writes them."""

from __future__ import annotations

import struct
from typing import Final

from fpstate.kernel.entities import HANDED_IN, IMAGE, REGISTERS, Entities
from fpstate.kernel.processor import FRAME, USER

CONTEXTS, PLAIN, LAYOUT, REGSET = (HANDED_IN + at for at in (0x1000, 0x1400, 0x1800, 0x2000))
OF_SVE, OF_FPSIMD, OF_NONE = 0, 0x2000, 0x3000
"""Where in the frame its records are: of SVE registers, of SIMD registers, and one of SVE that has no registers."""
HEADER: Final = 16  # bytes, of a record of SVE and of ptrace's regset (struct sve_context, struct user_sve_header)
MAGIC: Final = 0x53564501  # SVE_MAGIC (include/uapi/asm/sigcontext.h)
LAYOUT_TYPE: Final = "rt_sigframe_user_layout"


class HandedIn:
    """What is handed in, in memory of ours. Addresses are the kernel's, of the frame user mode's."""

    def __init__(self, entities: Entities) -> None:
        self._entities = entities
        base = entities.processor.base
        self.contexts, self.plain_contexts = base + CONTEXTS, base + PLAIN
        self.layout, self.regset, self.frame = base + LAYOUT, base + REGSET, USER + OF_FPSIMD
        self._fill_frame()
        self._have_contexts()
        self.regset_size = self._fill_regset()
        self.start_layout()
        entities.processor.keep()

    def _fill_frame(self) -> None:
        """Make records that a task with its own vector length would have in its frame."""
        p, at = self._entities.processor, self._entities.processor.base + FRAME
        p.write_bytes(at, bytes(1 + i % 250 for i in range(0x4000)))
        for record, size in ((OF_SVE, 0x1000), (OF_NONE, HEADER)):
            head = struct.pack("<IIHHI", MAGIC, size, 16 * self._entities.length["task"], 0, 0)
            p.write_bytes(at + record, head)

    def _have_contexts(self) -> None:
        """Point to the records, as the kernel has found them in the frame."""
        p, btf = self._entities.processor, self._entities.btf
        for contexts, sve, size in ((self.contexts, OF_SVE, 0x1000), (self.plain_contexts, OF_NONE, HEADER)):
            for name, at, total in (("fpsimd", OF_FPSIMD, IMAGE), ("sve", sve, size)):
                p.write(contexts + btf.member("user_ctxs", name), USER + at)
                if (member := btf.find("user_ctxs", f"{name}_size")) is not None:
                    p.write(contexts + member, total, 4)

    def _fill_regset(self) -> int:
        """Make what ptrace writes as NT_ARM_SVE: a header; Z, P and FFR; FPSR and FPCR. Return its size."""
        p, vectors = self._entities.processor, self._entities.length["next"]
        size = _up(_up(HEADER + (REGISTERS + 34) * vectors) + 8)
        p.write_bytes(self.regset, bytes(1 + i % 250 for i in range(size)))
        p.write_bytes(self.regset, struct.pack("<IIHHHH", size, size, 16 * vectors, 16 * vectors, 1, 0))
        return size

    def start_layout(self) -> None:
        """Let the layout of a signal frame be an empty one."""
        p, btf = self._entities.processor, self._entities.btf
        p.write_bytes(self.layout, bytes(btf.size(LAYOUT_TYPE)))
        p.write(self.layout + btf.member(LAYOUT_TYPE, "size"), 0x300)
        p.write(self.layout + btf.member(LAYOUT_TYPE, "limit"), 0x8000)

    def framed_sve(self) -> bool:
        """Tell whether the layout of the signal frame has room for SVE registers."""
        p, btf = self._entities.processor, self._entities.btf
        start, end = (p.read(self.layout + btf.member(LAYOUT_TYPE, f"{n}_offset")) for n in ("sve", "end"))
        return end - start > REGISTERS


def _up(size: int) -> int:
    """Return a size rounded up to quadwords."""
    return -(-size // 16) * 16
