"""Another first step of an import: from the records of a trace.dat to lines that have a meaning, as numbers."""
