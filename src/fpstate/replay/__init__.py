"""A recorded trace under a policy: counts, cycles, bounds, and validation against what the kernel did."""
