"""Whoever hears of frames and events: sound, screen, files, the event log, MQTT."""
