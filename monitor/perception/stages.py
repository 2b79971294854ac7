"""A stage of perception may break: it is named, logged now and then, and the watch goes on."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import structlog

log = structlog.get_logger(__name__)

# A stage that breaks on every frame is logged at most this often.
LOG_EVERY_S = 60.0

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


class Stages:
    """Runs the stages of one frame after another and keeps the names of those that failed."""

    def __init__(self) -> None:
        self._failed: list[str] = []
        self._now_s = 0.0
        self._logged_s: dict[str, float] = {}

    def begin(self, timestamp_s: float) -> None:
        """A new frame: forget what failed on the last one."""
        self._failed = []
        self._now_s = timestamp_s

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the stages that failed on this frame, in their order."""
        return tuple(self._failed)

    def run(
        self,
        name: str,
        otherwise: Answer,
        work: Callable[Arguments, Answer],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Answer:
        """What `work` gives, or `otherwise` if it raises."""
        try:
            return work(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever breaks, the rest of the frame still holds
            self.report(name, error)
            return otherwise

    def report(self, name: str, error: Exception) -> None:
        """Note a failure that happened elsewhere, such as on a stage's own thread."""
        if name not in self._failed:
            self._failed.append(name)
        if self._now_s - self._logged_s.get(name, -LOG_EVERY_S) >= LOG_EVERY_S:
            self._logged_s[name] = self._now_s
            log.error("perception stage failed; the watch goes on", stage=name, error=repr(error))
