"""What is found out of a kernel, and put in the place of its functions, before its code is run on views."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from fpstate.errors import FpstateError
from fpstate.kernel.accesses import each
from fpstate.kernel.effects import ALLOCATORS, FLUSHES, FREES
from fpstate.kernel.entities import STORAGE_SIZE, VCPUS, Place
from fpstate.kernel.entries import AS_NAMED, ENTRIES, FLUSH_ENDS, KILLS, RANDOM, SYSTEM_CALLED, Call, Entry
from fpstate.kernel.processor import GFP_ZERO, OWN_AT, Ran
from fpstate.world.events import Event

if TYPE_CHECKING:
    from fpstate.kernel.stage import Stage

CPUS: Final = 4
"""How many numbers the CPU may have."""
RAISES_SOFTIRQ, SOFTIRQ = "__raise_softirq_irqoff", 3
FINALIZED: Final = Call(("kvm_arm_vcpu_is_finalized",), ("vcpu",))


def find_per_cpu(stage: Stage) -> None:
    """Find the CPU's number, its softirqs, and what KVM knows of it, where the kernel's types do not tell where.

    The number is what a task's reload reads and notes in the task.
    """
    p, e = stage.processor, stage.entities
    found = {"fpsimd_last_state": (e.cpu, "fpsimd_last_state_struct")}
    ran = _ran(stage, ENTRIES[Event.RET_TO_USER])
    read = [a.address for a in each(ran.accesses) if not a.write and a.size == 4 and a.address < OWN_AT]
    p.restore()
    for address in dict.fromkeys(read):
        p.write(e.virtual(address), 3, 4)
        _ran(stage, ENTRIES[Event.RET_TO_USER])
        if p.read(e.member("task", "thread.fpsimd_cpu"), 4) == 3:
            found["cpu_number"] = e.virtual(address), ""
        p.restore()
    ran = stage.do(Call((RAISES_SOFTIRQ,), (SOFTIRQ,)), AS_NAMED)
    pending = [a.address for a in each(ran.accesses) if a.write and a.address < OWN_AT and a.value >> SOFTIRQ & 1]
    p.restore()
    if pending:
        found["irq_stat"] = e.virtual(pending[0]), ""
    e.know_per_cpu(found)
    e.drop_softirqs()
    _ran(stage, ENTRIES[Event.VCPU_LOAD])
    found["kvm_host_data"] = e.find_hyp_data(_ran(stage, ENTRIES[Event.GUEST_ENTER])), "kvm_host_data"
    p.restore()
    e.know_per_cpu(found)


def share_hyp_data(stage: Stage) -> None:
    """Find the hypervisor's data of this CPU, and let it have the same whatever number the CPU has."""
    p, e = stage.processor, stage.entities
    _ran(stage, ENTRIES[Event.VCPU_LOAD])
    e.hyp_data = e.find_hyp_data(_ran(stage, ENTRIES[Event.GUEST_ENTER])) - e.cpu, stage.btf.size("kvm_host_data")
    p.restore()
    bases = stage.symbols.address("__kvm_nvhe_kvm_arm_hyp_percpu_base")
    if bases is not None:
        for number in range(1, CPUS):
            p.write(bases + 8 * number, p.read(bases))
        p.keep()


def _ran(stage: Stage, entry: Entry) -> Ran:
    """Return what the last call of an entry does."""
    ran = Ran()
    for call in entry.calls:
        if not call.optional or stage.function(call) is not None:
            ran = stage.do(call, AS_NAMED)
    return ran


def prepare_sve(stage: Stage) -> tuple[Place, int]:
    """Do ourselves what allocators do, and end system calls where their function begins.

    Return the member, and its bit, by which a vCPU has SVE; all of ours have it.
    """
    p, at = stage.processor, stage.symbols.address

    def allocate() -> int:
        storage = stage.entities.new_storage(stage.allocates_for)
        if p.register(1) & GFP_ZERO:
            p.write_bytes(storage, bytes(STORAGE_SIZE))
        return storage

    for name in ALLOCATORS:
        if (address := at(name)) is not None:
            p.instead_of(address, name, allocate)
    if (address := at(FREES)) is not None:
        p.instead_of(address, FREES, lambda: p.register(0))
    if (address := at(RANDOM)) is not None:  # where the next system call has its stack
        p.instead_of(address, RANDOM, lambda: 0)
    flush = at(FLUSHES)
    for address in [flush] if flush is not None else p.places_of(FLUSH_ENDS):
        p.note_at(address, FLUSHES)
    for name in KILLS:
        if (address := at(name)) is not None:
            p.fault_at(address)
    if (address := at(SYSTEM_CALLED)) is not None:
        p.stop_at(address)
    return _sve_flag(stage)


def _sve_flag(stage: Stage) -> tuple[Place, int]:
    """Find by which bit a vCPU has SVE: it makes it not finalized, until another bit says that it is."""
    p = stage.processor
    for place, bit in _bits(stage):
        _set(stage, "vcpu", place, bit)
        if not _finalized(stage):
            for other, done in _bits(stage):
                p.restore()
                _set(stage, "vcpu", place, bit)
                _set(stage, "vcpu", other, done)
                if _finalized(stage):
                    for name in VCPUS:
                        _set(stage, name, place, bit)
                        _set(stage, name, other, done)
                    p.keep()
                    return place, bit
        p.restore()
    raise FpstateError("it is not found how a vCPU has SVE", expected="a flag of it", where=p.where)


def _bits(stage: Stage) -> Iterator[tuple[Place, int]]:
    """Yield the bits of all flags of a vCPU, and of its VM, that tell whether it is finalized as it is."""
    read = stage.reader.effects(stage.do(FINALIZED, AS_NAMED)).read
    for place in [place for of, place in read if of == "vcpu" and place.name.endswith("flags")]:
        yield from ((place, 1 << n) for n in range(8 * place.size))


def _finalized(stage: Stage) -> bool:
    stage.do(FINALIZED, AS_NAMED)
    return bool(stage.processor.register(0) & 1)


def _set(stage: Stage, entity: str, place: Place, bits: int) -> None:
    p, at = stage.processor, stage.entities.base_of(entity) + place.offset
    p.write(at, p.read(at, place.size) | bits, place.size)
