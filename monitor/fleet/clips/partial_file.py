"""A clip as far as it has come: a file beside the finished ones, so that a crash loses nothing."""

import hashlib
from pathlib import Path

from monitor.protocol.schemas import ClipPart


class PartialFile:
    """The parts of one request, put together in their order.

    Args:
        folder: of the finished clips.
        request: id of the request.
    """

    def __init__(self, folder: Path, request: str) -> None:
        self.path = folder / ".partial" / f"{request}.part"

    @property
    def size(self) -> int:
        """Bytes that have come; where the next part begins."""
        return self.path.stat().st_size if self.path.exists() else 0

    def add(self, part: ClipPart) -> bool:
        """Append a part; False if it is not the next one: a repeat, or after a gap."""
        if part.offset != self.size or not part.data:
            return False
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(part.data)
        return True

    def is_whole(self, part: ClipPart) -> bool:
        """All that the vehicle announced is there."""
        return 0 < part.total_bytes <= self.size

    def is_right(self, sha256: str) -> bool:
        """The checksum is that of the vehicle's file."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest() == sha256

    def finish(self, file: Path) -> None:
        """Put it among the finished clips."""
        self.path.replace(file)

    def discard(self) -> None:
        """Begin anew, or give up."""
        self.path.unlink(missing_ok=True)
