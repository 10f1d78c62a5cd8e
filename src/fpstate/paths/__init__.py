"""Which event may follow which, within what bounds, what must hold, and how a path of events is walked and told."""
