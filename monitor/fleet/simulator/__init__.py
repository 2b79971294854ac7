"""A simulated fleet: who drives, what happens to them, and where it is written or sent.

`driver_profile` says who drives and how tired they are, `events` what befalls a leg. What a
vehicle then says is not invented: `recording` holds what the real engine made of recorded drives
(`films`, `recorder`), and `vehicle` puts a leg together from its pieces. `rows` and `seeding`
write them into a database, `publisher` sends them over MQTT. Everything follows from the seed.
"""
