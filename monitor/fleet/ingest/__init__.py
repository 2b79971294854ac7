"""From the broker into the database: subscriber, decoder, upsert, acknowledgement."""
