"""The known ways of switching FP state, one file each, found without registration."""
