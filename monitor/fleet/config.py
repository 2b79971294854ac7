"""Settings of the fleet's side: ingesters, retention, provisioning; see `configs/fleet.yaml`.

Precedence, strongest first: command line, `WAKEFUL_FLEET_` environment (nested with `__`, as in
`WAKEFUL_FLEET_DATABASE__PASSWORD_FILE`), the YAML file, the defaults here.
"""

from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from monitor.addresses import host_alone
from monitor.config import LogConfig, MqttConfig, Seconds, Section, state_dir
from monitor.errors import ConfigError
from monitor.fleet.notify.config import NotifyConfig
from monitor.settings import Settings, load_as, read_yaml

FLEET_ENV_PREFIX = "WAKEFUL_FLEET_"


class MetricsConfig(Section):
    """Prometheus."""

    port: int = Field(0, ge=0, le=65535, description="0 serves none.")
    address: str = "127.0.0.1"

    @field_validator("address")
    @classmethod
    def _host(cls, address: str) -> str:
        try:
            return host_alone(address, "metrics.address")
        except ConfigError as error:
            raise ValueError(str(error)) from None


class DatabaseConfig(Section):
    """Where the fleet's log is kept. PostgreSQL for a fleet, SQLite for one desk."""

    url: SecretStr = Field(
        SecretStr(""),
        description="SQLAlchemy URL, as postgresql+psycopg://wakeful@localhost/wakeful; empty is "
        "SQLite `fleet.db` in the state folder.",
    )
    password: SecretStr | None = Field(None, description="Better in the environment or a file.")
    password_file: Path | None = Field(None, description="File that holds the password alone.")
    retry_s: tuple[Seconds, Seconds] = Field(
        (0.5, 30.0), description="Pause after a failure of the database: first and longest."
    )

    def resolved_url(self) -> str:
        """The URL to open, with the password filled in.

        Raises:
            ConfigError: the URL is none, or the password file cannot be read.
        """
        text = self.url.get_secret_value() or f"sqlite:///{state_dir() / 'fleet.db'}"
        try:
            url = make_url(text)
        except ArgumentError:
            raise ConfigError(
                "database.url is no SQLAlchemy URL; write postgresql+psycopg://USER@HOST/NAME"
            ) from None
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        password = self._password()
        if password is not None:
            url = url.set(password=password)
        return url.render_as_string(hide_password=False)

    def _password(self) -> str | None:
        if self.password is not None:
            return self.password.get_secret_value()
        if self.password_file is None:
            return None
        try:
            return self.password_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(
                f"database.password_file {self.password_file} cannot be read ({error.strerror})"
            ) from None


class BrokerConfig(MqttConfig):
    """Which broker the fleet tells; there is always a real one."""

    host: str = Field("localhost", description="Host name of the broker.")


class IngestConfig(Section):
    """How one ingester takes messages in. Any number may run side by side."""

    group: str = Field(
        "wakeful", pattern=r"^[A-Za-z0-9_-]{1,64}$", description="Of the shared subscription."
    )
    client: str = Field(
        "", pattern=r"^[A-Za-z0-9_-]{0,64}$", description="MQTT client id; empty takes a fresh one."
    )
    gather_ms: float = Field(
        10.0, ge=0, le=1000, description="Wait this long for more before a transaction."
    )
    batch: int = Field(1000, ge=1, le=10_000, description="Most messages in one transaction.")
    in_flight: int = Field(
        4000, ge=1, le=65_535, description="Unconfirmed messages that the broker may send ahead."
    )
    state_every_s: Seconds = Field(
        0.0, description="Read a vehicle's live state at most this often; 0 reads every one."
    )
    sample_every_s: Seconds = Field(
        5.0,
        description="Keep a row of its history this often, and one a "
        "second while the eyes are closed or an alert stands.",
    )
    skew_s: Seconds = Field(5.0, description="A vehicle's clock further off than this is flagged.")
    drain_s: Seconds = Field(10.0, description="On SIGTERM, finish what was taken within this.")


class FleetClipsConfig(Section):
    """Clips that operators ask vehicles for; `wakeful fleet clips` fetches them."""

    folder: Path | None = Field(
        None,
        description="Where they lie, for the dashboard too; null is `clips` in the state folder.",
    )
    keep_days: float = Field(30, gt=0, le=3650, description="A fetched clip is deleted after this.")
    max_bytes: int = Field(50_000_000, ge=1000, description="A larger one is not fetched.")
    parts: int = Field(
        16,
        ge=1,
        le=256,
        description="Parts of 32 KB that a vehicle sends before it is asked again.",
    )
    retry_s: tuple[Seconds, Seconds] = Field(
        (10.0, 600.0), description="Ask a silent vehicle again: first and longest pause."
    )


class RetentionConfig(Section):
    """How long what is kept, days; applied by the ingesters every `every_s`."""

    enabled: bool = True
    every_s: Seconds = 3600.0
    samples_days: float = Field(14, gt=0, le=3650, description="The driver's state, every 5 s.")
    info_days: float = Field(90, gt=0, le=36_500, description="Events of level info: yawns.")
    degraded_days: float = Field(180, gt=0, le=36_500, description="What impaired the watch.")
    alerts_days: float = Field(730, gt=0, le=36_500, description="Cautions, warnings, critical.")
    coverage_days: float = Field(730, gt=0, le=36_500, description="Monitored time.")
    history_days: float = Field(180, gt=0, le=36_500, description="Availability, camera status.")
    dead_letters_days: float = Field(30, gt=0, le=3650)


class FleetConfig(Settings):
    """The fleet's whole tree."""

    model_config = SettingsConfigDict(env_prefix=FLEET_ENV_PREFIX)

    mqtt: BrokerConfig = BrokerConfig()
    database: DatabaseConfig = DatabaseConfig()
    ingest: IngestConfig = IngestConfig()
    retention: RetentionConfig = RetentionConfig()
    notify: NotifyConfig = NotifyConfig()
    clips: FleetClipsConfig = FleetClipsConfig()
    metrics: MetricsConfig = Field(
        MetricsConfig(), description="Serves /metrics and /health; port 0 serves neither."
    )
    log: LogConfig = LogConfig()


def load_fleet(path: Path | None = None, **overrides: Any) -> FleetConfig:
    """The fleet's effective configuration.

    Raises:
        ConfigError: unreadable file, broken YAML, unknown key or wrong value: one line a fault.
    """
    if path is not None:
        _refuse_written_addresses(path)
    return load_as(FleetConfig, path, overrides)


def _refuse_written_addresses(path: Path) -> None:
    """An apprise URL holds a password; a settings file is copied, shown and committed."""
    match read_yaml(path):
        case {"notify": {"recipients": dict() as recipients}}:
            for name, recipient in recipients.items():
                if isinstance(recipient, dict) and "url" in recipient:
                    raise ConfigError(
                        f"{path}: notify.recipients.{name}.url: an address holds a password and "
                        "does not belong in this file; write it into one of its own and set "
                        "url_file"
                    )
        case _:
            return
