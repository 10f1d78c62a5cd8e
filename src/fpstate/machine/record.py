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
    log = np.array(host.twin.log, np.int64).reshape(-1, 5)
    kind = [Kind.IDLE] * cpus + [Kind.USER] * len(tasks) + [Kind.VCPU] * len(vcpus)
    tid_of = {t.context: FIRST_TID + i for i, t in enumerate(tasks)}
    owner_of = {t.vcpu.context: t.context for t in tasks if t.vcpu is not None}
    n = len(kind)
    owner = np.array([owner_of.get(x, -1) for x in range(n)], np.int32)
    tid = np.array([tid_of.get(owner_of.get(x, x), 0) for x in range(n)], np.int32)
    names = [f"swapper/{c}" for c in range(cpus)] + [t.program.name for t in tasks] + [v.program.name for v in vcpus]
    seen = np.unique(log[:, 2]).tolist()
    observed = [(Truth(e) if e >= min(Truth) else Event(e)).name.lower() for e in seen]
    source = f"fpstate run, policy {host.rows.policy.name}, seed {host.settings.seed}"
    header = Header(source, "machine", clock="instructions", cpus=cpus, lines=len(log), observed=observed)
    return Trace(
        log[:, 0].copy(),
        log[:, 1].astype(np.uint16),
        log[:, 2].astype(np.uint8),
        log[:, 3].astype(np.int32),
        log[:, 4].astype(np.int32),
        np.zeros(len(log), np.uint32),
        Contexts(np.array(kind, np.uint8), tid, owner, names),
        header,
    )
