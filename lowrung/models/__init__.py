"""Floor 2: backbones, heads, tuning and baselines. Everything with tensors lives here."""
