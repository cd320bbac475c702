"""Floor 1: rows in and out, splits, checks."""
