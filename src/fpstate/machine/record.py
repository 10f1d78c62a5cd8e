"""What happened on the machine as a trace, in which every use of FP is known."""

from __future__ import annotations

import numpy as np

from fpstate.machine.host import Host
from fpstate.traces.trace import Contexts, Header, Kind, Trace
from fpstate.world.events import Event, Truth

FIRST_TID = 100


def as_trace(host: Host) -> Trace:
    """Return the events of a run. Its time is 1 ns an instruction and 100 ns an event, on all CPUs in one order."""
    cpus, tasks, vcpus = host.settings.cpus, host.tasks, host.vcpus
    time, cpu, event, subject, object_ = host.twin.log.columns()
    kind = [Kind.IDLE] * cpus + [Kind.USER] * len(tasks) + [Kind.VCPU] * len(vcpus)
    tid_of = {t.context: FIRST_TID + i for i, t in enumerate(tasks)}
    owner_of = {t.vcpu.context: t.context for t in tasks if t.vcpu is not None}
    n = len(kind)
    owner = np.array([owner_of.get(x, -1) for x in range(n)], np.int32)
    tid = np.array([tid_of.get(owner_of.get(x, x), 0) for x in range(n)], np.int32)
    names = [f"swapper/{c}" for c in range(cpus)] + [t.program.name for t in tasks] + [v.program.name for v in vcpus]
    seen = np.unique(event).tolist()
    observed = [(Truth(e) if e >= min(Truth) else Event(e)).name.lower() for e in seen]
    source = f"fpstate run, policy {host.rows.policy.name}, seed {host.settings.seed}"
    header = Header(source, "machine", clock="instructions", cpus=cpus, lines=len(time), observed=observed)
    return Trace(
        time,
        cpu.astype(np.uint16),
        event.astype(np.uint8),
        subject.astype(np.int32),
        object_.astype(np.int32),
        np.zeros(len(time), np.uint32),
        Contexts(np.array(kind, np.uint8), tid, owner, names),
        header,
    )
