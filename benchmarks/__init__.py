"""What lowrung and today's tools score on public sets. Run from the repository root: `python -m benchmarks.others`."""
