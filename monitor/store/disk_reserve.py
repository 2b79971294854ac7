"""A file that is only there to be deleted: on a full disk even deleting rows needs room."""

import os
from pathlib import Path

SIZE_BYTES = 1_000_000


class DiskReserve:
    """Some room put aside next to the database.

    Args:
        path: where; its folder exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def fill(self) -> None:
        """Take the room, if it is not taken and the disk has plenty; silent when it cannot."""
        try:
            if self._path.exists() and self._path.stat().st_size >= SIZE_BYTES:
                return
            free = os.statvfs(self._path.parent)
            if free.f_bavail * free.f_frsize < 4 * SIZE_BYTES:
                return
            # Random: some file systems store zeros, or compress them, for nothing.
            self._path.write_bytes(os.urandom(SIZE_BYTES))
        except OSError:
            self.drop()

    def drop(self) -> bool:
        """Give the room back; True if there was any."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True
