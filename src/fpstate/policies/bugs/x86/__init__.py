"""Linux and KVM on x86."""
