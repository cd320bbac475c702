"""Floor 0: what a question, an answer, a task and a model are. No torch, no files."""
