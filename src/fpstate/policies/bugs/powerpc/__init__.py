"""Linux and KVM on PowerPC."""
