"""The notifier's loop: what is new is taken in, what is due is sent."""

import os
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import sdnotify
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from monitor.backoff import Backoff
from monitor.errors import ConfigError, StoreError
from monitor.fleet.config import FleetConfig
from monitor.fleet.ingest.metrics import Pages
from monitor.fleet.notify import message as words
from monitor.fleet.notify import queue, weekly
from monitor.fleet.notify.channels import Channel, SendError
from monitor.fleet.notify.config import NotifyConfig
from monitor.fleet.notify.queue import Notification, Status
from monitor.store.database import explained, open_engine, shown, upgrade

log = structlog.get_logger(__name__)

# A recipient that does not answer must not keep the others waiting.
AT_ONCE: Final = 8
BUSY_S: Final = 10.0


class NotifyMetrics:
    """Counters of one notifier."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.sent = Counter(
            "wakeful_notify_sent", "Messages handed over.", ["recipient"], registry=registry
        )
        self.failures = Counter(
            "wakeful_notify_failures", "Attempts that failed.", ["recipient"], registry=registry
        )
        self.waiting = Gauge(
            "wakeful_notify_waiting", "Messages that are still to be sent.", registry=registry
        )
        self.given_up = Gauge(
            "wakeful_notify_given_up", "Messages that were given up.", registry=registry
        )


class Notifier:
    """One notifier; any number may share a database.

    Args:
        config: of the fleet; `notify` is used.
        engine: of a database at the current version.
        clock: epoch seconds.
        failpoint: called at named points (`notify.before_send`, `notify.after_send`); tests crash
            there.

    Raises:
        ConfigError: a recipient without an address, or with one that apprise does not know.
    """

    def __init__(
        self,
        config: FleetConfig,
        engine: Engine,
        clock: Callable[[], float] = time.time,
        failpoint: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._config, self._engine = config.notify, engine
        self._clock, self._failpoint = clock, failpoint
        self._channels = {
            name: Channel(name, recipient.address(name))
            for name, recipient in self._config.recipients.items()
        }
        self.metrics = NotifyMetrics()
        retry_s = self._config.retry_s
        self._backoffs = {name: Backoff(*retry_s, scatter=0) for name in self._channels}
        self._paused_until: dict[str, float] = {}
        self._errors: dict[str, str] = {}
        self._sending: dict[str, Future[None]] = {}
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="notify")
        queue.begin(engine, self._config.rules, clock())

    def step(self) -> None:
        """Take in what is new and begin to send what is due."""
        now = self._clock()
        queue.take_in(self._engine, self._config, now)
        report = self._config.weekly
        if report.to and (subject := weekly.due(report, now)):
            queue.add_report(self._engine, report.to, subject, now)
        for recipient, numbers in queue.waiting(self._engine, now).items():
            if self._may_send(recipient, now):
                self._sending[recipient] = self._pool.submit(self._send_all, recipient, numbers)
        self._count()

    def settle(self) -> None:
        """Wait until what is being sent is sent or has failed."""
        for future in list(self._sending.values()):
            future.result()

    def health(self) -> dict[str, object]:
        """How it stands; `troubles` is empty when all is well."""
        return {"troubles": dict(self._errors)}

    def trouble(self, part: str, reason: str | None) -> None:
        """Note what is the matter with a part; None is nothing any more."""
        if reason is None:
            self._errors.pop(part, None)
        else:
            self._errors[part] = reason

    def close(self) -> None:
        """Finish what is being sent."""
        self._pool.shutdown(wait=True)

    def _may_send(self, recipient: str, now: float) -> bool:
        """Known, not at it already and not in its pause after a failure."""
        busy = self._sending.get(recipient)
        if recipient not in self._channels or now < self._paused_until.get(recipient, 0.0):
            return False
        return busy is None or busy.done()

    def _send_all(self, recipient: str, numbers: list[int]) -> None:
        for number in numbers:
            try:
                if not self._send(number):
                    return
            except (SQLAlchemyError, OSError) as error:
                # The claim runs out by itself; the loop says what is wrong with the database.
                log.warning("not sent", recipient=recipient, reason=str(error).splitlines()[0])
                return

    def _send(self, number: int) -> bool:
        """Send one; False when its recipient is to be left alone for a while."""
        row = queue.claim(self._engine, number, self._clock(), self._config.lease_s)
        if row is None:
            return True
        settings = self._config.recipients[row.recipient]
        if row.in_doubt and not settings.repeat_in_doubt:
            queue.give_up(self._engine, row, "in doubt: the notifier ended while it was sent")
            return True
        message = self._message(row)
        if message is None:
            queue.give_up(self._engine, row, "what it is about is no longer in the log")
            return True
        self._failpoint("notify.before_send")
        try:
            self._channels[row.recipient].send(message)
        except SendError as error:
            return self._failed(row, str(error))
        self._failpoint("notify.after_send")
        queue.sent(self._engine, row, self._clock())
        self.metrics.sent.labels(row.recipient).inc()
        self._backoffs[row.recipient].reset()
        self._paused_until.pop(row.recipient, None)
        self.trouble(row.recipient, None)
        return True

    def _message(self, row: Notification) -> words.OutgoingMessage | None:
        message_id = f"{row.rule}.{row.recipient}.{row.subject.replace('/', '.')}"
        if row.rule == "weekly":
            limits = self._config.recipients[row.recipient].groups
            return weekly.message(
                self._engine, message_id, row.subject, self._config.weekly.timezone, limits
            )
        with self._engine.connect() as connection:
            incident = queue.incident(connection, row.subject)
            held = queue.held_before(connection, row)
        rule = self._config.rules.get(row.rule)
        if incident is None or rule is None:
            return None
        return words.of_incident(
            message_id,
            incident,
            timezone=rule.timezone,
            held=held,
            now=row.created_at,
            dashboard=self._config.dashboard_url,
        )

    def _failed(self, row: Notification, reason: str) -> bool:
        now = self._clock()
        again_at = now + self._backoffs[row.recipient].next_s()
        self._paused_until[row.recipient] = again_at
        self.metrics.failures.labels(row.recipient).inc()
        if row.recipient not in self._errors:
            log.warning("recipient does not answer", recipient=row.recipient, reason=reason)
        self.trouble(row.recipient, reason)
        if now - row.created_at > self._config.give_up_s:
            queue.give_up(self._engine, row, reason)
        else:
            queue.put_off(self._engine, row, reason, again_at)
        return False

    def _count(self) -> None:
        counts = queue.counts(self._engine)
        self.metrics.waiting.set(counts.get(Status.PENDING, 0) + counts.get(Status.SENDING, 0))
        self.metrics.given_up.set(counts.get(Status.FAILED, 0))


def send_test(config: NotifyConfig, recipient: str) -> None:
    """Send one message, to see whether a recipient's address is right.

    Raises:
        ConfigError: no such recipient, or its address is wrong.
        SendError: the message could not be handed over.
    """
    if recipient not in config.recipients:
        names = ", ".join(config.recipients) or "none"
        raise ConfigError(f"notify.recipients: no {recipient}; known: {names}")
    channel = Channel(recipient, config.recipients[recipient].address(recipient))
    text = "Wakeful can reach you here. Nothing has happened."
    channel.send(words.OutgoingMessage(f"test.{uuid.uuid4()}", "Wakeful: a test", text))


def serve(
    config: FleetConfig,
    url: str,
    stop: threading.Event,
    failpoint: Callable[[str], None] = lambda _: None,
) -> None:
    """Notify until `stop` is set.

    Raises:
        ConfigError, StoreError: a setting or a database that needs a person.
    """
    upgrade(url)
    engine = open_engine(url, busy_s=BUSY_S, immediate=True)
    notifier = Notifier(config, engine, failpoint=failpoint)
    pages = Pages(config.metrics, notifier.metrics.registry, notifier.health)
    systemd = sdnotify.SystemdNotifier() if "NOTIFY_SOCKET" in os.environ else None
    log.info(
        "notifying", rules=list(config.notify.rules), recipients=list(config.notify.recipients),
        url=shown(url),
    )  # fmt: skip
    backoff = Backoff(*config.database.retry_s)
    try:
        while not stop.is_set():
            try:
                with explained(url):
                    notifier.step()
            except StoreError as error:
                log.warning("the database does not answer; keeping on", reason=str(error))
                notifier.trouble("database", str(error))
                stop.wait(backoff.next_s())
                continue
            backoff.reset()
            notifier.trouble("database", None)
            if systemd is not None:
                systemd.notify("READY=1\nWATCHDOG=1")
            stop.wait(config.notify.poll_s)
    finally:
        notifier.close()
        pages.close()
        engine.dispose()
