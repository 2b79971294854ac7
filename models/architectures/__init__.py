"""The networks, one architecture a file, in reading order."""
