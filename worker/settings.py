"""Settings from the environment (`BOTFLEET_*`), validated together: an error names the variable.

Every secret can come from a file instead (`…_FILE`), as mounted Secrets do. No channel is required: what isn't
configured is skipped, visibly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from fleet.config.values import ChatId, Email, WebUrl
from fleet.redaction import guard, guard_url
from fleet.settings import PREFIX, DatabaseUrl, SettingsInvalid, read_settings
from worker.channels.mail import MailServer
from worker.channels.outcome import Channel
from worker.channels.routing import Contact, Installed
from worker.channels.telegram import PUBLIC_API

Seconds = Annotated[float, Field(gt=0, le=86_400)]
PerMinute = Annotated[int, Field(ge=1, le=100_000)]


class Settings(BaseSettings):
    """Everything that can be set; see the field descriptions."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True, hide_input_in_errors=True)

    database_url: DatabaseUrl = Field(description="libpq URL of the worker's role.")
    log_format: Literal["json", "console"] = Field("json", description="console: for people.")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")
    http_host: str = Field("0.0.0.0", description="Where health and metrics are served.")  # noqa: S104
    http_port: int = Field(8080, ge=0, le=65_535, description="0 picks a free port.")
    poll_interval_s: Seconds = Field(5, description="Between two looks at the outbox; NOTIFY makes it quicker.")

    telegram_token: SecretStr = Field(SecretStr(""), description="Of the bot that sends, from @BotFather.")
    telegram_token_file: Path | None = Field(None, description="A file that holds the token.")
    telegram_api_url: str = Field(PUBLIC_API, description="Of a Bot API server of your own.", pattern=r"^https?://")

    smtp_host: str = Field("", description="Mail server; empty: no e-mail.")
    smtp_port: int = Field(0, ge=0, le=65_535, description="0: 587 for starttls, 465 for ssl, 25 for none.")
    smtp_tls: Literal["starttls", "ssl", "none"] = Field("starttls", description="How the connection is encrypted.")
    smtp_user: str = Field("", description="Empty: no login.")
    smtp_password: SecretStr = Field(SecretStr(""), description="Of smtp_user.")
    smtp_password_file: Path | None = Field(None, description="A file that holds the password.")
    smtp_from: str = Field("", description="`Botfleet <botfleet@example.com>` or an address.")

    webhook_secret: SecretStr = Field(SecretStr(""), description="Owners' signing keys are derived from it.")
    webhook_secret_file: Path | None = Field(None, description="A file that holds the secret.")
    webhook_allow_private: bool = Field(False, description="Let webhooks reach addresses that aren't public.")
    webhook_http_hosts: list[str] = Field(default_factory=list, description="JSON list: may be reached without TLS.")

    operator_email: Email | None = Field(None, description="Who hears of the installation itself.")
    operator_telegram_chat_id: ChatId | None = Field(None, description="The same, by Telegram.")
    operator_webhook_url: WebUrl | None = Field(None, description="The same, by webhook.")

    telegram_per_minute: PerMinute = Field(20, description="Attempts to one chat within a minute.")
    email_per_minute: PerMinute = Field(10, description="Attempts to one address within a minute.")
    webhook_per_minute: PerMinute = Field(120, description="Attempts to one URL within a minute.")
    concurrency: int = Field(16, ge=1, le=256, description="Messages on their way at the same time.")
    database_connections: int = Field(8, ge=2, le=100, description="Size of the connection pool.")
    send_timeout_s: Seconds = Field(15, description="Longest time of one attempt.")
    lease_s: Seconds = Field(30, description="When another worker may repeat an attempt that nobody concluded.")
    max_age_s: Annotated[float, Field(gt=0, le=30 * 86_400)] = Field(
        86_400, description="A message that couldn't be delivered for so long has failed."
    )
    summary_hour: int = Field(8, ge=0, le=23, description="Hour of summaries in the owner's timezone.")
    performance_every_s: Seconds = Field(
        30, description="Between two rounds of performance metrics; a bot's own are at least a minute apart."
    )
    keep_bars_days: Annotated[float, Field(gt=0, le=36_500)] = Field(
        30, description="How long trading_bars are kept; the daily equity curve stays."
    )
    keep_errors_days: Annotated[float, Field(gt=0, le=36_500)] = Field(
        90, description="How long the hourly counts of trading_errors are kept."
    )
    backlog_s: Seconds = Field(600, description="An outbox that is late by so much is a health event.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.send_timeout_s + 2 > self.lease_s:
            raise ValueError(
                f"BOTFLEET_LEASE_S is {self.lease_s:g}; it must be at least BOTFLEET_SEND_TIMEOUT_S + 2 = "
                f"{self.send_timeout_s + 2:g}, or two workers send the same message at once"
            )
        if self.smtp_host and "@" not in self.smtp_from:
            raise ValueError("BOTFLEET_SMTP_FROM is missing: the address that mails come from")
        if any(ord(letter) < 32 for letter in self.smtp_from):
            raise ValueError("BOTFLEET_SMTP_FROM must be one line")
        return self

    @property
    def telegram(self) -> str:
        """The token; empty without."""
        return _secret("TELEGRAM_TOKEN", self.telegram_token, self.telegram_token_file)

    @property
    def webhook_key(self) -> str:
        """The installation's signing secret; empty without."""
        return _secret("WEBHOOK_SECRET", self.webhook_secret, self.webhook_secret_file)

    @property
    def mail_server(self) -> MailServer | None:
        """Where mails are handed in."""
        if not self.smtp_host:
            return None
        password = _secret("SMTP_PASSWORD", self.smtp_password, self.smtp_password_file, user=self.smtp_user)
        return MailServer(
            host=self.smtp_host,
            port=self.smtp_port or {"starttls": 587, "ssl": 465, "none": 25}[self.smtp_tls],
            tls=self.smtp_tls,
            sender=self.smtp_from,
            user=self.smtp_user or None,
            password=password or None,
        )

    @property
    def installed(self) -> Installed:
        """Which channels can be used."""
        missing = {
            Channel.TELEGRAM: None if self.telegram else "BOTFLEET_TELEGRAM_TOKEN is not set",
            Channel.EMAIL: None if self.smtp_host else "BOTFLEET_SMTP_HOST is not set",
            Channel.WEBHOOK: None if self.webhook_key else "BOTFLEET_WEBHOOK_SECRET is not set",
        }
        return Installed(
            missing={channel: reason for channel, reason in missing.items() if reason},
            allow_private=self.webhook_allow_private,
            http_hosts=self.webhook_http_hosts,
        )

    @property
    def operator(self) -> Contact:
        """Who hears of the installation itself."""
        return Contact(
            email=self.operator_email,
            telegram_chat_id=self.operator_telegram_chat_id,
            webhook_url=self.operator_webhook_url,
        )

    @property
    def per_minute(self) -> dict[str, int]:
        """Rate limit by channel."""
        return {
            Channel.TELEGRAM: self.telegram_per_minute,
            Channel.EMAIL: self.email_per_minute,
            Channel.WEBHOOK: self.webhook_per_minute,
        }


def _secret(name: str, value: SecretStr, file: Path | None, *, user: str = "") -> str:
    """A secret that no output shows from now on."""
    try:
        secret = (value.get_secret_value() if file is None else file.read_text()).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsInvalid(f"{PREFIX}{name}_FILE can't be read: {error}") from error
    guard(secret, user=user)
    return secret


def load_settings() -> Settings:
    """The settings of this process.

    Raises:
        SettingsInvalid: one line for each variable that is wrong.
    """
    settings = read_settings(Settings)
    guard_url(settings.database_url)
    _ = settings.installed, settings.mail_server  # unreadable files are found now, not at the first message
    return settings
