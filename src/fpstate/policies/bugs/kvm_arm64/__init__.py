"""KVM on arm64."""
