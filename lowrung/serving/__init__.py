"""Floor 4: a model over HTTP, with what people say of its answers, and what is made of that."""
