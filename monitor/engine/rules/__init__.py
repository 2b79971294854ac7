"""One small file a rule: readings in, a finding or nothing out. No clock, no I/O."""
