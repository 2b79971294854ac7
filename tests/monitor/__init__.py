"""Floor 2: the watch, its sinks, the fleet."""
