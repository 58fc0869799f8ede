"""E-mail, by Apprise, with a Message-ID made of the idempotency key: a repeated mail is the same mail to a mailbox."""

from __future__ import annotations

import smtplib
from dataclasses import dataclass
from email import message_from_string
from email.utils import parseaddr
from typing import Any

from apprise import NotifyFormat
from apprise.plugins.email.base import NotifyEmail
from apprise.plugins.email.smtp import AppriseSMTPController, SMTPSecureMode

from worker.channels import apprise_log
from worker.channels.messages import Message, subject, text
from worker.channels.outcome import Delivered, Outcome, Refused, TryAgain

_MODES = {"none": SMTPSecureMode.INSECURE, "starttls": SMTPSecureMode.STARTTLS, "ssl": SMTPSecureMode.SSL}

LIMIT = 50_000
"""Characters of a mail's text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServer:
    """Where mails are handed in. tls: `starttls`, `ssl` or `none`."""

    host: str
    port: int
    tls: str
    sender: str
    user: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"MailServer({self.host}:{self.port}, {self.tls})"


class _KeyedEmail(NotifyEmail):
    """Apprise's e-mail with a Message-ID of ours."""

    server: MailServer
    key: str
    address: str
    timeout_s: float

    def send(self, body: Any, title: Any = "", *_: Any, **__: Any) -> bool:
        """One mail; what goes wrong is logged, as Apprise does."""
        name, sender = parseaddr(self.server.sender)
        [prepared] = NotifyEmail.prepare_emails(
            subject=title,
            body=body,
            notify_format=NotifyFormat.TEXT,
            from_addr=[name or False, sender],
            to=[(False, self.address)],
            smtp_host=self.server.host,
            headers={"Auto-Submitted": "auto-generated", "X-Botfleet-Key": self.key},
        )
        mail = message_from_string(prepared.body)
        mail.replace_header("Message-ID", f"<{self.key}@{sender.rpartition('@')[2]}>")
        try:
            with AppriseSMTPController(
                host=self.server.host,
                port=self.server.port,
                secure_mode=_MODES[self.server.tls],
                user=self.server.user,
                password=self.server.password,
                socket_connect_timeout=int(self.timeout_s) or 1,
            ) as session:
                return session.sendmail(sender, [self.address], mail.as_string())
        except (OSError, smtplib.SMTPException) as error:
            self.logger.debug("Socket Exception: %s", error)
            return False


class MailSender:
    """Sends by one server.

    Args:
        server: where mails are handed in.
        timeout_s: of one attempt.
    """

    def __init__(self, server: MailServer, *, timeout_s: float) -> None:
        apprise_log.prepare_logging()
        self._server = server
        self._timeout_s = timeout_s

    async def send(self, message: Message, *, address: str) -> Outcome:
        """See Sender."""
        server = self._server
        plugin = _KeyedEmail(
            host=server.host,
            smtp_host=server.host,
            port=server.port,
            from_addr=server.sender,
            secure_mode=_MODES[server.tls],
            targets=[address],
            format="text",
        )
        plugin.server, plugin.key, plugin.address, plugin.timeout_s = server, message.key, address, self._timeout_s
        plugin.request_rate_per_sec = 0  # the dispatcher paces
        body = text(message, limit=LIMIT)
        return outcome(await apprise_log.send(plugin, title=subject(message), body=body, timeout_s=self._timeout_s + 1))

    async def close(self) -> None:
        """Nothing is kept open."""


def outcome(lines: list[str] | None) -> Outcome:
    """What the server's answer means: 5xx is final, 4xx and silence aren't."""
    if lines is None:
        return Delivered()
    for line in lines:
        found = apprise_log.SMTP_ERROR.search(line)
        if found:
            error = f"the mail server answered {found['code']}: {apprise_log.summary([found['text']])}"
            return Refused(error) if found["code"].startswith("5") else TryAgain(error)
    return apprise_log.unexplained(lines)
