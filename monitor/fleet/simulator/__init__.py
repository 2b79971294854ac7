"""A simulated fleet: who drives, what happens to them, and where it is written or sent.

`driver_profile` says who drives and how tired they are, `events` what befalls a drive, `vehicle`
turns
a vehicle into drives, events, samples and coverage, `seeding` writes them into a database and
`publisher` sends them over MQTT. Everything is determined by the seed.
"""
