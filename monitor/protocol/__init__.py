"""The messages that vehicle and fleet exchange: topics, schemas, encoding and decoding."""
