"""Every order of events in a scope: a property holds, or here is the shortest path that breaks it."""
