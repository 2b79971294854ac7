"""A simulated fleet: who drives, what happens to them, and where it is written or told.

`habits` says who drives and how tired they are, `happenings` what befalls a drive, `life` turns
a vehicle into drives, events, samples and coverage, `seeding` writes them into a database and
`traffic` tells them over MQTT. Everything is determined by the seed.
"""
