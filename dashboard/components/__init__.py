"""Pieces that pages are made of: charts, the timeline, an alert's page, the theme."""
