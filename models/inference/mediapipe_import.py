"""MediaPipe without what it imports and nobody here uses."""

import sys
import threading
from types import ModuleType

_importing = threading.Lock()
# Imported by `mediapipe.solutions.drawing_utils` for a plot in three dimensions: half of the time
# that MediaPipe takes to import, and 30 MB.
_UNUSED = ("matplotlib", "matplotlib.pyplot")


def mediapipe() -> ModuleType:
    """The library. Whoever imports matplotlib itself, before or after, gets the real one."""
    with _importing:
        if "mediapipe" not in sys.modules:
            stand_ins = {name: ModuleType(name) for name in _UNUSED if name not in sys.modules}
            if len(stand_ins) == len(_UNUSED):
                sys.modules.update(stand_ins)
            try:
                import mediapipe  # noqa: F401, PLC0415 - half a second, only for faces
            finally:
                for name, stand_in in stand_ins.items():
                    if sys.modules.get(name) is stand_in:
                        del sys.modules[name]
        return sys.modules["mediapipe"]
