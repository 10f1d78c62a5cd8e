"""The first step of an import: from bytes to lines that have a meaning, as numbers."""
