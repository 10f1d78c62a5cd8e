"""Would a check of the kernel's own code notice a wrong instruction? Single changes of it, and what becomes of each.

Run: python -m tests.kernel.changes [KERNEL] [--sve] [--run] [--count N] [--seed S]. A change makes one instruction a
NOP, or turns it if it is a conditional branch; it is drawn among those of the kernel's functions about FP state. It is
*found* when the check is violated or the kernel stops; else it is compared with the kernel as it is: *the same* in
every order of events, or *other work*.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Mapping

from unicorn import UC_HOOK_CODE

from fpstate.check.diff import SAME, diff
from fpstate.check.run import VIOLATED, check
from fpstate.errors import FpstateError
from fpstate.kernel.named import CPU_MODEL, WITH_SVE
from fpstate.kernel.policy import kernel_policy
from fpstate.kernel.stage import Stage
from fpstate.lab.apt import fetch_kernel
from fpstate.lab.dump import Dump, dump_of
from fpstate.lab.kernel import calls, read_kernel
from fpstate.lab.qemu import Machine
from fpstate.paths.scope import Scope
from fpstate.policies.base import Policy, with_features

NOP = 0xD503201F
SCOPES = (Scope(1, 2, 1), Scope(2, 1, 1))
SCOPES_OF_SVE = (Scope(1, 1, 1),)
FUNCTIONS = (
    "fpsimd_save", "fpsimd_save_user_state", "fpsimd_thread_switch", "fpsimd_restore_current_state",
    "fpsimd_flush_thread", "task_fpsimd_load", "fpsimd_flush_task_state", "fpsimd_flush_cpu_state",
    "fpsimd_save_and_flush_cpu_state", "fpsimd_bind_state_to_cpu", "fpsimd_bind_task_to_cpu",
    "fpsimd_update_current_state", "fpsimd_preserve_current_state", "fpsimd_signal_preserve_current_state",
    "fpsimd_cpu_dead", "fpsimd_cpu_pm_notifier", "kernel_neon_begin", "kernel_neon_end", "kvm_arch_vcpu_load_fp",
    "kvm_arch_vcpu_put_fp", "kvm_arch_vcpu_ctxflush_fp", "kvm_arch_vcpu_ctxsync_fp", "kvm_hyp_handle_fpsimd",
    "fpsimd_save_state", "fpsimd_load_state", "__fpsimd_restore_state",
)  # fmt: skip
OF_SVE = (
    "do_sve_acc", "sve_alloc", "sve_to_fpsimd", "fpsimd_to_sve", "sve_sync_to_fpsimd", "vec_set_vector_length",
    "sve_set_vq", "sve_flush_live", "sve_save_state", "sve_load_state", "restore_sve_fpsimd_context",
    "setup_sigframe_layout", "el0_svc", "__sve_restore_state",
)  # fmt: skip


def dump(name: str = "debian-6.1", mode: str = "vhe", *, sve: bool = False) -> Dump:
    """Return the dump of one of Debian's kernels, on a CPU with SVE or without."""
    model, options = WITH_SVE if sve else (CPU_MODEL, "")
    machine = Machine(model, 1, mode, options)
    return dump_of(read_kernel(fetch_kernel(lambda _: None, name)), machine, lambda _: None)


def changed(of: Dump, changes: Mapping[int, int]) -> type[Policy]:
    """Return the policy that a kernel is with some of its words changed."""
    policy = kernel_policy(Stage(of, changes), "kernel:changed", "a changed kernel")[0]
    features = {"guest-sve"} if of.mode == "vhe" else {"guest-sve", "nvhe"}
    return with_features(policy, features) if of.has_sve else policy


def without_call(of: Dump, caller: str, callee: str) -> type[Policy]:
    """Return the policy that a kernel is if a function does not call another one."""
    start = of.symbols.address(caller)
    assert start is not None
    places = calls(of.kernel, of.symbols, caller, callee)
    assert places
    return changed(of, {start + place: NOP for place in places})


def instructions(of: Dump) -> list[tuple[int, int]]:
    """Return address and word of each instruction of the functions that is not a NOP."""
    names = FUNCTIONS + (OF_SVE if of.has_sve else ())
    return [(at, word) for name in names for at, word in words_of(of, name) if word not in (0, NOP)]


def words_of(of: Dump, function: str) -> list[tuple[int, int]]:
    """Return address and word of each instruction of a function; none if the kernel has no such function."""
    start, text = of.symbols.address(function), of.symbols.base() or 0
    places = range(start, of.symbols.end(start), 4) if start is not None else ()
    return [(at, int.from_bytes(of.kernel.image[at - text : at - text + 4], "little")) for at in places]


def run_at_all(of: Dump, every: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return those of instructions that are run for some row."""
    stage, run = Stage(of), set[int]()
    uc = stage.processor._uc
    low, high = min(every)[0], max(every)[0]
    uc.hook_add(UC_HOOK_CODE, lambda _, at, *__: run.add(at), None, low, high)
    uc.ctl_flush_tb()
    kernel_policy(stage, "kernel:whole", "the kernel as it is")
    return [(at, word) for at, word in every if at in run]


def turned(word: int) -> int:
    """Return the opposite of a conditional branch, a NOP for all else (Arm ARM, C4.1.66)."""
    if word & 0x7E000000 in (0x34000000, 0x36000000):  # CBZ and CBNZ, TBZ and TBNZ
        return word ^ 1 << 24
    return word ^ 1 if word & 0xFF000010 == 0x54000000 else NOP  # B.cond


def fate(of: Dump, changes: Mapping[int, int], whole: type[Policy]) -> str:
    """Return what becomes of a change."""
    try:
        policy = changed(of, changes)
        scopes = SCOPES_OF_SVE if of.has_sve else SCOPES
        if any(check(policy, scope).verdict == VIOLATED for scope in scopes):
            return "found"
    except FpstateError as error:
        return f"stops: {error.given}"
    verdicts = {diff(whole, policy, scope).verdict for scope in scopes}
    return "the same" if verdicts == {SAME} else "other work"


def main() -> None:
    """Try changes one after the other, and print what became of each."""
    parser = argparse.ArgumentParser(prog="python -m tests.kernel.changes", description=__doc__.splitlines()[0])
    parser.add_argument("kernel", nargs="?", default="debian-6.1", help="one of Debian's (default: debian-6.1)")
    parser.add_argument("--sve", action="store_true", help="on a CPU with SVE, whose guests have it too")
    parser.add_argument("--count", type=int, default=100, help="how many (default: 100)")
    parser.add_argument("--seed", type=int, default=1, help="of the draw (default: 1)")
    parser.add_argument("--run", action="store_true", help="only of instructions that are run for some row")
    args = parser.parse_args()
    of = dump(args.kernel, sve=args.sve)
    whole, every, counts = changed(of, {}), instructions(of), Counter[str]()
    if args.run:
        every = run_at_all(of, every)
    which = "instructions that are run" if args.run else "instructions"
    sys.stdout.write(f"{args.count} of {len(every)} {which} of {args.kernel}, seed {args.seed}\n")
    for number, (at, word) in enumerate(random.Random(args.seed).sample(every, args.count), 1):
        what = fate(of, {at: turned(word)}, whole)
        counts[what.partition(":")[0]] += 1
        sys.stdout.write(f"{number} {of.symbols.near(at)} {word:#010x} -> {turned(word):#010x}: {what}\n")
        sys.stdout.flush()
    sys.stdout.write(", ".join(f"{n} {what}" for what, n in counts.most_common()) + "\n")


if __name__ == "__main__":
    main()
