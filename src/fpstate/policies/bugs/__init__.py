"""Historical bugs as pairs of policies: one file each, found without registration."""
