"""ACRN, HAXM, gVisor, Cloud Hypervisor."""
