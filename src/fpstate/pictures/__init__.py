"""Results as pictures: nothing is computed here that a result object does not hold."""
