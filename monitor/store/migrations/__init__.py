"""Alembic's folder: one file a version, run by `monitor.store.database.upgrade`."""
