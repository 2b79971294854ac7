"""Settings of the notifier: recipients, rules, the weekly report; the section `notify` of a fleet.

Addresses that hold passwords (apprise URLs) come from a file or the environment, never from the
settings file.
"""

from datetime import time
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, SecretStr, model_validator

from monitor.config import Seconds, Section
from monitor.errors import ConfigError
from monitor.types import Kind, Level

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
LevelName = Literal["info", "caution", "warning", "critical"]


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("no such time zone; write UTC or a name as Europe/Berlin") from None
    return name


# As a variable of the environment can spell it.
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$", max_length=64)]
Zone = Annotated[str, AfterValidator(_zone)]


class Recipient(Section):
    """Where somebody is reached, and what they may learn of."""

    url: SecretStr | None = Field(
        None,
        description="apprise URL, by the environment alone, as "
        "WAKEFUL_FLEET_NOTIFY__RECIPIENTS__NAME__URL.",
    )
    url_file: Path | None = Field(None, description="File that holds the apprise URL alone.")
    groups: tuple[str, ...] = Field((), description="Learns of these groups only; empty is all.")
    repeat_in_doubt: bool = Field(
        True,
        description="After a crash in the middle of sending: send again, or (false) mark as "
        "failed. E-mail and webhooks recognise a repeat by its id; a text message does not.",
    )

    def address(self, name: str) -> str:
        """The apprise URL.

        Raises:
            ConfigError: there is none, or its file cannot be read.
        """
        if self.url is not None:
            return self.url.get_secret_value().strip()
        if self.url_file is None:
            raise ConfigError(
                f"notify.recipients.{name}: has no address; set url_file, or "
                f"WAKEFUL_FLEET_NOTIFY__RECIPIENTS__{name.upper()}__URL"
            )
        try:
            return self.url_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            raise ConfigError(
                f"notify.recipients.{name}.url_file {self.url_file}: cannot be read ({reason})"
            ) from None


class NotifyRule(Section):
    """Which events are sent to whom."""

    to: tuple[Name, ...] = Field(min_length=1, description="Names of recipients.")
    kinds: tuple[Kind, ...] = Field((), description="Only these kinds of event; empty is all.")
    level: LevelName = Field("warning", description="Least level.")
    groups: tuple[str, ...] = Field((), description="Only vehicles of these groups; empty is all.")
    between: tuple[time, time] | None = Field(
        None, description="Only events that begin in this time of day; may span midnight."
    )
    weekdays: tuple[Weekday, ...] = Field((), description="Only on these days; empty is all.")
    timezone: Zone = Field("UTC", description="Of `between` and `weekdays`.")
    repeat_s: Seconds = Field(
        600.0,
        description="After one is sent, further ones of the same vehicle and kind are held back "
        "this long, and counted in the next.",
    )

    @property
    def least_level(self) -> Level:
        """The least level as a number."""
        return Level[self.level.upper()]


class WeeklyReport(Section):
    """A report on the week that has passed (Monday to Sunday), as HTML with a PDF attached."""

    to: tuple[Name, ...] = Field((), description="Names of recipients; empty sends none.")
    weekday: Weekday = "mon"
    at: time = Field(time(7, 0), description="Time of day.")
    timezone: Zone = "UTC"


class NotifyConfig(Section):
    """Who is told of what."""

    recipients: dict[Name, Recipient] = Field({})
    rules: dict[Name, NotifyRule] = Field({})
    weekly: WeeklyReport = WeeklyReport()
    poll_s: Seconds = Field(2.0, description="Look for what is new this often.")
    retry_s: tuple[Seconds, Seconds] = Field(
        (5.0, 300.0), description="Pause after a failure of a recipient: first and longest."
    )
    lease_s: Seconds = Field(
        120.0,
        description="How long sending one message may take. One that a crash interrupted is "
        "looked at again after this.",
    )
    give_up_s: Seconds = Field(
        7 * 86_400.0, description="What could not be sent for this long is marked as failed."
    )
    dashboard_url: str = Field("", description="Address of the dashboard, for links.")

    @model_validator(mode="after")
    def _known_recipients(self) -> Self:
        senders = {f"rules.{name}": rule.to for name, rule in self.rules.items()}
        for where, names in {**senders, "weekly": self.weekly.to}.items():
            for name in names:
                if name not in self.recipients:
                    listed = ", ".join(self.recipients) or "none"
                    raise ValueError(f"{where}.to: no recipient {name}; known: {listed}")
        if "weekly" in self.rules:
            raise ValueError("rules.weekly: is the weekly report's own name; choose another")
        return self
