"""Native libraries print past Python: MediaPipe and TensorFlow Lite greet with a dozen lines."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def native_stderr_silenced() -> Iterator[None]:
    """Keep what native code prints on file descriptor 2 off the terminal."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


@contextmanager
def natives_silenced() -> Iterator[None]:
    """The same for as long as a command runs: Python's own standard error stays what it was.

    MediaPipe warns on threads of its own, whenever it likes; FFmpeg complains of every damaged
    packet.
    """
    python_stderr = sys.stderr
    with os.fdopen(os.dup(2), "w", buffering=1) as private:
        python_stderr.flush()
        sys.stderr = private
        try:
            with native_stderr_silenced():
                yield
        finally:
            sys.stderr = python_stderr
