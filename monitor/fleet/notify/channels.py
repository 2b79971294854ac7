"""How a message leaves: apprise for a hundred services, Python's own SMTP client for e-mail.

apprise reads every address, e-mail's too. It gives each e-mail a fresh `Message-ID`, though, by
which no mail server could recognise a repeat; ours is the notification's own.
"""

import logging
import smtplib
import ssl
import tempfile
import threading
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, formataddr
from pathlib import Path
from typing import Final, Self

from apprise import Apprise, AppriseAttachment, NotifyBase
from apprise.plugins.custom_form import NotifyForm
from apprise.plugins.custom_json import NotifyJSON
from apprise.plugins.custom_xml import NotifyXML
from apprise.plugins.email import NotifyEmail

from monitor.errors import ConfigError, WakefulError
from monitor.fleet.notify.message import OutgoingMessage

TIMEOUT_S: Final = 10.0


class SendError(WakefulError):
    """The message could not be handed over; the reason is one line and holds no address."""


class Channel:
    """One recipient's way.

    Args:
        name: of the recipient, for errors.
        url: an apprise URL; it holds passwords and is never shown.

    Raises:
        ConfigError: apprise does not know such an address.
    """

    def __init__(self, name: str, url: str) -> None:
        plugin = Apprise.instantiate(url)
        if plugin is None:
            raise ConfigError(
                f"notify.recipients.{name}: not an address that apprise knows; write one as in "
                "docs/fleet.md, such as mailtos://USER:PASSWORD@HOST?to=ADDRESS"
            )
        self._plugin: NotifyBase = plugin

    def send(self, message: OutgoingMessage) -> None:
        """Hand a message over; returns when the other side has taken it.

        Raises:
            SendError: it has not, or nobody knows.
        """
        if isinstance(self._plugin, NotifyEmail):
            _mail(self._plugin, message)
        else:
            _post(self._plugin, message)


def _mail(way: NotifyEmail, message: OutgoingMessage) -> None:
    mail = _composed(way, message)
    # One transaction for all addresses: the server takes the message once.
    try:
        with _connected(way) as server:
            if way.user and way.password:
                server.login(way.user, way.password)
            server.send_message(mail, _sender(way), _addresses(way))
    except smtplib.SMTPResponseException as error:
        answer = error.smtp_error
        text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
        raise SendError(f"the mail server answers {error.smtp_code} {text}") from None
    except (OSError, smtplib.SMTPException) as error:
        raise SendError(f"the mail server: {error or type(error).__name__}") from None


def _connected(way: NotifyEmail) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if not way.verify_certificate:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    port = way.port or {"ssl": 465, "starttls": 587}.get(way.secure_mode or "", 25)
    if way.secure_mode == "ssl":
        return smtplib.SMTP_SSL(way.smtp_host, port, timeout=TIMEOUT_S, context=context)
    server = smtplib.SMTP(way.smtp_host, port, timeout=TIMEOUT_S)
    if way.secure_mode == "starttls":
        server.starttls(context=context)
    return server


def _sender(way: NotifyEmail) -> str:
    return str(way.from_addr[1])


def _addresses(way: NotifyEmail) -> list[str]:
    return [address for _, address in way.targets] + sorted(way.cc) + sorted(way.bcc)


def _composed(way: NotifyEmail, message: OutgoingMessage) -> EmailMessage:
    mail = EmailMessage()
    mail["Message-ID"] = f"<{message.id}@{_sender(way).rpartition('@')[2] or 'wakeful'}>"
    mail["Date"] = format_datetime(datetime.now(UTC))
    mail["Subject"] = message.title
    mail["From"] = formataddr((str(way.from_addr[0] or "Wakeful"), _sender(way)))
    mail["To"] = ", ".join(formataddr((str(name or ""), address)) for name, address in way.targets)
    if way.cc:
        mail["Cc"] = ", ".join(sorted(way.cc))
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answers from out-of-office
    mail.set_content(message.text)
    if message.html is not None:
        mail.add_alternative(message.html, subtype="html")
    for file in message.attachments:
        main, _, sub = file.type.partition("/")
        mail.add_attachment(file.content, maintype=main, subtype=sub, filename=file.name)
    return mail


def _post(way: NotifyBase, message: OutgoingMessage) -> None:
    if isinstance(way, NotifyJSON | NotifyForm | NotifyXML):
        way.headers["Idempotency-Key"] = message.id
        way.payload_extras.update({"id": message.id, **message.fields})
    with tempfile.TemporaryDirectory(prefix="wakeful-notify-") as folder, _Warnings() as warnings:
        attached = AppriseAttachment()
        for file in message.attachments:
            path = Path(folder) / file.name
            path.write_bytes(file.content)
            attached.add(str(path))
        done = way.notify(
            body=message.text, title=message.title, attach=attached if len(attached) else None
        )
    if not done:
        raise SendError(warnings.last or "the service did not take it")


class _Warnings(logging.Handler):
    """What apprise logs in this thread meanwhile: its answers are True and False alone."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the last warning."""
        if record.thread == self._thread:
            self.last = record.getMessage().splitlines()[0][:500]

    def __enter__(self) -> Self:
        logging.getLogger("apprise").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("apprise").removeHandler(self)
