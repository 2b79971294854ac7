"""Floor 1: the models."""
