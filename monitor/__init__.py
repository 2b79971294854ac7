"""Floor 2: one driver, watched over time.

>>> for frame in source:
>>>     observation = perceive(frame)
>>>     state, events = engine.update(observation)
"""

__version__ = "0.1.0"
