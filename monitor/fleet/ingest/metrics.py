"""What an ingester tells of itself: Prometheus metrics and a health page."""

import json
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app

from monitor.addresses import shown_host
from monitor.errors import ConfigError
from monitor.fleet.config import MetricsConfig

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

LAG_BUCKETS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0, 600.0, 3600.0, 86_400.0)
TIME_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
SIZE_BUCKETS = (1, 3, 10, 30, 100, 300, 1000, 3000)
# The vehicles flagged for their clocks are remembered up to here; a fleet this wrong needs NTP.
FLAGGED = 10_000


class IngestMetrics:
    """Counters of one ingester, in a registry of their own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.messages = Counter(
            "wakeful_ingest_messages", "Messages read.", ["channel"], registry=registry
        )
        self.events = Counter(
            "wakeful_ingest_tellings",
            "Tellings of events stored, by whether they changed a row.",
            ["outcome"],
            registry=registry,
        )
        self.dead_letters = Counter(
            "wakeful_ingest_dead_letters", "Messages refused.", ["channel"], registry=registry
        )
        self.states_skipped = Counter(
            "wakeful_ingest_states_skipped", "Live states not kept.", registry=registry
        )
        self.failures = Counter(
            "wakeful_ingest_database_failures", "Transactions that failed.", registry=registry
        )
        self.lag = Histogram(
            "wakeful_ingest_lag_seconds",
            "From the vehicle's log to the fleet's by both clocks, first event of a transaction.",
            buckets=LAG_BUCKETS,
            registry=registry,
        )
        self.transaction = Histogram(
            "wakeful_ingest_transaction_seconds",
            "Duration of a transaction.",
            buckets=TIME_BUCKETS,
            registry=registry,
        )
        self.batch = Histogram(
            "wakeful_ingest_batch_messages",
            "Messages in a transaction.",
            buckets=SIZE_BUCKETS,
            registry=registry,
        )
        self.waiting = Gauge(
            "wakeful_ingest_waiting_messages", "Taken from the broker, not yet stored.",
            registry=registry,
        )  # fmt: skip
        self.broker = Gauge("wakeful_ingest_broker_connected", "1 or 0.", registry=registry)
        self.database = Gauge("wakeful_ingest_database_up", "1 or 0.", registry=registry)
        self.skewed = Gauge(
            "wakeful_ingest_skewed_vehicles", "Vehicles whose clock is flagged.", registry=registry
        )
        self._flagged: set[str] = set()

    def took(self, channel: str, messages: int) -> None:
        """So many messages of this channel were read."""
        self.messages.labels(channel).inc(messages)

    def refused(self, channel: str, reason: str) -> None:
        """A message of this channel could not be read."""
        del reason  # its words are in the dead letter; as a label they would never end
        self.dead_letters.labels(channel).inc()

    def skew(self, vehicle: str, seconds: float, flagged: bool) -> None:
        """A vehicle's clock was seen to be off by this much."""
        del seconds
        if flagged and len(self._flagged) < FLAGGED:
            self._flagged.add(vehicle)
        elif not flagged:
            self._flagged.discard(vehicle)
        self.skewed.set(len(self._flagged))


class _OnIPv6(WSGIServer):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        """Say nothing: scrapes come every few seconds."""


class Pages:
    """Serves `/metrics` and `/health` in a thread of its own.

    Args:
        config: address and port; port 0 serves nothing.
        registry: what `/metrics` shows.
        health: what is the matter, by part; `/health` answers 200 when nothing is, else 503.
    """

    def __init__(
        self,
        config: MetricsConfig,
        registry: CollectorRegistry,
        health: Callable[[], Mapping[str, object]],
    ) -> None:
        self._metrics = make_wsgi_app(registry)
        self._health = health
        self._server: WSGIServer | None = None
        if config.port:
            self._server = self._listen(config)

    def _listen(self, config: MetricsConfig) -> WSGIServer:
        try:
            kind = _OnIPv6 if ":" in config.address else WSGIServer
            server = make_server(config.address, config.port, self._answer, kind, _Quiet)
        except OSError as error:
            raise ConfigError(
                f"metrics: cannot listen on {shown_host(config.address, config.port)} "
                f"({error.strerror}); "
                "choose another metrics.port, or 0 for none"
            ) from None
        threading.Thread(target=server.serve_forever, name="pages", daemon=True).start()
        return server

    def _answer(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        if environ.get("PATH_INFO") == "/metrics":
            return list(self._metrics(environ, start_response))
        served = environ.get("PATH_INFO") in {"/health", "/"}
        health = self._health() if served else {"error": "try /health or /metrics"}
        fine = served and not health.get("troubles")
        status = "200 OK" if fine else "503 Service Unavailable" if served else "404 Not Found"
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(health).encode() + b"\n"]

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
