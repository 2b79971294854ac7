"""Floor 3: looks back. Reads the store and the reports; writes only reviews."""
