"""Small kernels: Zephyr, Genode, NuttX, RIOT, RT-Thread, Minix, StarryOS, Asterinas, OP-TEE, and two BSDs."""
