"""Floor 1: pictures in, probabilities out. No camera, no clock, no MQTT."""
