"""Floor 3: adapt, evaluate, compare, study, report."""
