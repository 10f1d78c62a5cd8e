"""Traces from a real Linux/KVM on an emulated arm64 machine."""
