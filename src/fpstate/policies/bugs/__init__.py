"""Historical bugs as pairs of policies, by system: one file each, found without registration."""
