"""One writer for one database: a lock beside the file, gone with its process however that ends."""

import errno
import fcntl
import os
from pathlib import Path
from typing import IO

from monitor.errors import StoreError
from monitor.store.database import UnwritableError

_HELD = frozenset({errno.EAGAIN, errno.EACCES})


class DatabaseLock:
    """Held from construction until `release`.

    Args:
        database: the SQLite file to be written.

    Attributes:
        taken_before: the database was locked before, so the file is ours and not a stranger's.

    Raises:
        StoreError: another process holds it.
        UnwritableError: the lock's file cannot be made, or the file system knows no locks.
    """

    def __init__(self, database: Path) -> None:
        path = database.with_name(f"{database.name}.lock")
        self.taken_before = path.exists()
        try:
            self._file: IO[str] = path.open("a+", encoding="ascii")
        except OSError as error:
            raise UnwritableError(
                f"{path}: {error.strerror}; set store.url or WAKEFUL_HOME to a folder that can "
                "be written"
            ) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _HELD:
                self._file.close()
                raise UnwritableError(
                    f"{database}: its folder knows no locks ({error.strerror}), as NFS or FUSE may "
                    "not; set store.url or WAKEFUL_HOME to a local disk"
                ) from None
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise StoreError(
                f"{database}: another wakeful writes to it (process {holder}); stop that one, or "
                "set store.url or WAKEFUL_HOME to another place"
            ) from None
        self._note_holder()

    def release(self) -> None:
        """Let others have it."""
        self._file.close()

    def _note_holder(self) -> None:
        try:
            self._file.truncate(0)
            self._file.write(f"{os.getpid()}\n")
            self._file.flush()
        except OSError:
            pass  # a full disk: the lock holds without its note
