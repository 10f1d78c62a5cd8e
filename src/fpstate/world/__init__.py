"""The one world: what events and operations mean, for replay, check and machine alike."""
