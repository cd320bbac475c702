"""Floor 1: how answers are counted, one file per shape of answer."""
