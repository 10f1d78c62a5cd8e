/*
 * The deferred reload of the Linux arm64 host, as fpstate checks it: 2 CPUs, NTASK tasks.
 *
 * The same moves, each atomic: thread_switch to the idle thread or to any task that runs nowhere, ret_to_user, user_fp
 * (reads, then writes), syscall, and a softirq that uses NEON. The same state: whose value each place holds and whether
 * it is the latest. So the reachable states are the same in number as those of
 * benchmarks/bench_check.py, without folding; SPIN has in addition those before both CPU processes have started.
 */
#ifndef NTASK
#define NTASK 5
#endif
#define NCPU 2
#define SOFTIRQ (NTASK + 1)
#define NOCPU NCPU

byte cur[NCPU];            /* 0: the idle thread */
byte regs[NCPU];           /* whose value: 0 nobody's, 1..NTASK, SOFTIRQ */
bit regs_latest[NCPU];
byte last_state[NCPU];     /* 0: none */
bit user[NTASK + 1];
bit foreign[NTASK + 1];
byte fpsimd_cpu[NTASK + 1];
byte image[NTASK + 1];
bit image_latest[NTASK + 1];

inline save(c, t) {
	if
	:: !foreign[t] -> image[t] = regs[c]; image_latest[t] = regs_latest[c]
	:: else
	fi
}

inline make_stale(t, i) {
	for (i : 0 .. NCPU - 1) {
		if :: regs[i] == t -> regs_latest[i] = 0 :: else fi
	}
	for (i : 1 .. NTASK) {
		if :: image[i] == t -> image_latest[i] = 0 :: else fi
	}
}

#define running(t) (cur[0] == t || cur[1] == t)
#define SWITCH(t) :: d_step { in_kernel && !running(t) -> \
	save(c, cur[c]); \
	foreign[t] = (last_state[c] != t || fpsimd_cpu[t] != c); \
	cur[c] = t }
#define in_kernel !user[cur[c]]

proctype cpu(byte c) {
	byte i;
	do
	:: d_step { user[cur[c]] ->                       /* user_fp */
		assert(regs[c] == cur[c] && regs_latest[c]);
		make_stale(cur[c], i);
		regs[c] = cur[c]; regs_latest[c] = 1; i = 0 }
	:: d_step { user[cur[c]] -> user[cur[c]] = 0 }    /* syscall */
	:: d_step { cur[c] != 0 && in_kernel ->           /* ret_to_user */
		if
		:: foreign[cur[c]] ->
			regs[c] = image[cur[c]]; regs_latest[c] = image_latest[cur[c]];
			last_state[c] = cur[c]; fpsimd_cpu[cur[c]] = c; foreign[cur[c]] = 0
		:: else
		fi;
		user[cur[c]] = 1 }
	:: d_step { in_kernel ->                          /* a softirq uses NEON */
		save(c, cur[c]);
		last_state[c] = 0; foreign[cur[c]] = 1;
		regs[c] = SOFTIRQ; regs_latest[c] = 0 }
	:: d_step { cur[c] != 0 && in_kernel ->           /* switch to the idle thread */
		save(c, cur[c]); cur[c] = 0; foreign[0] = 1 }
	SWITCH(1)
	SWITCH(2)
#if NTASK >= 3
	SWITCH(3)
#endif
#if NTASK >= 4
	SWITCH(4)
#endif
#if NTASK >= 5
	SWITCH(5)
#endif
#if NTASK >= 6
	SWITCH(6)
#endif
	od
}

init {
	byte t;
	d_step {
		foreign[0] = 1;
		for (t : 1 .. NTASK) {
			foreign[t] = 1; fpsimd_cpu[t] = NOCPU; image[t] = t; image_latest[t] = 1
		}
		t = 0
	}
	atomic { run cpu(0); run cpu(1) }
}
