"""Every SQL statement of the dashboard, by what it asks about, and nothing else.

`database` opens the event log; `live`, `events`, `reviews`, `fleet` and `health` ask it. All of it
is
SQLAlchemy Core with bound parameters, sorted by columns from a table of names, cut by LIMIT and
keyset in the database, and the same on SQLite and PostgreSQL. No streamlit here.
"""
