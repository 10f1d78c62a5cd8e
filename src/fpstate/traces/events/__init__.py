"""The second step of an import: from lines to events, and to the contexts they happen to."""
