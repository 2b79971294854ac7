"""Scripts that measure, and the long chaos run."""
