"""Running a fleet's database: partitions, retention, export, erasure."""
