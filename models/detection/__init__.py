"""The eyes: data, scenes, training and report of the detector and of the eye-state network."""
