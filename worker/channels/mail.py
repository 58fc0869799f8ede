"""E-mail, by aiosmtplib. The Message-ID is made of the idempotency key: a repeated mail is the same to a mailbox."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, formataddr, parseaddr

import aiosmtplib

from fleet.redaction import redact
from worker.channels.messages import Message, one_line, subject, text
from worker.channels.outcome import Delivered, Outcome, Refused, TryAgain


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


class MailSender:
    """Sends by one server. Its certificate is checked; `starttls` never falls back to an open connection.

    Args:
        server: where mails are handed in.
        timeout_s: of one attempt.
    """

    def __init__(self, server: MailServer, *, timeout_s: float) -> None:
        self._server = server
        self._timeout_s = timeout_s

    async def send(self, message: Message, *, address: str) -> Outcome:
        """See Sender."""
        mail = letter(message, sender=self._server.sender, address=address, now=datetime.now(UTC))
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._hand_in(mail, address)
        except TimeoutError:
            return TryAgain(f"{self._server.host} did not answer within {self._timeout_s:g} s")
        except (aiosmtplib.SMTPException, OSError, UnicodeError) as error:  # the last: a host that is no name
            return outcome(error)
        return Delivered()

    async def close(self) -> None:
        """Nothing is kept open."""

    async def _hand_in(self, mail: EmailMessage, address: str) -> None:
        server = self._server
        known = bool(server.user and server.password)
        async with aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            use_tls=server.tls == "ssl",
            start_tls=server.tls == "starttls",
            username=server.user if known else None,
            password=server.password if known else None,
            timeout=self._timeout_s,
        ) as session:
            await session.send_message(mail, sender=parseaddr(server.sender)[1], recipients=[address])


def letter(message: Message, *, sender: str, address: str, now: datetime) -> EmailMessage:
    """The mail: plain text, one receiver.

    Args:
        message: what to say.
        sender: `Botfleet <botfleet@example.com>` or an address.
        address: whom to.
        now: for its date.
    """
    name, from_address = parseaddr(sender)
    mail = EmailMessage()
    mail["Subject"] = subject(message)
    mail["From"] = formataddr((name, from_address))
    mail["To"] = address
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = f"<{message.key}@{from_address.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Botfleet-Key"] = message.key
    mail.set_content(text(message), cte="base64")
    return mail


def outcome(error: Exception) -> Outcome:
    """What the server's answer means: 5xx is final, 4xx and silence aren't; nor is what isn't recognised."""
    refused = error.recipients[0] if isinstance(error, aiosmtplib.SMTPRecipientsRefused) else error
    if not isinstance(refused, aiosmtplib.SMTPResponseException):
        return TryAgain(one_line(redact(_said(error))))
    said = f"the mail server answered {refused.code}: {one_line(redact(refused.message))}"
    return Refused(said) if 500 <= refused.code < 600 else TryAgain(said)


def _said(error: Exception) -> str:
    cause = error.__cause__
    if isinstance(cause, ConnectionError) and cause.errno is not None:  # asyncio says: Connect call failed
        return f"{error} ({os.strerror(cause.errno)})"
    return str(error) or type(error).__name__
