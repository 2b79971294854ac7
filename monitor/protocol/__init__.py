"""The messages that vehicle and fleet exchange: topics, schemas, encoding and decoding."""

import monitor.store  # noqa: F401 - until rows leave the store: their import order matters
