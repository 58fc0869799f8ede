"""Receivers of messages on loopback, as real as it gets without the internet: a mail server, a web server for webhooks
that checks signatures with the library of Standard Webhooks, and a server with the shape of Telegram's Bot API.

Each can be told to misbehave: `behave` holds what the next requests get, in order; after that it behaves well.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from cli.embedded import free_port
from worker.channels.signature import signing_secret

TOKEN = "123456789:AAEhBOweik6ad9r_QXMENQjcrGbqCr4K-bc"
SECRET = "the installation's secret"


@dataclass
class Receiver:
    """What arrived, by key, with how often; and what to answer."""

    keys: Counter[str] = field(default_factory=Counter)
    taken: list[Any] = field(default_factory=list)
    behave: list[Any] = field(default_factory=list)
    requests: int = 0
    slow_s: float = 0.0
    """Between taking something and saying so."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_fault(self) -> Any:
        with self.lock:
            self.requests += 1
            return self.behave.pop(0) if self.behave else None

    def take(self, key: str, what: Any) -> None:
        with self.lock:
            self.keys[key] += 1
            self.taken.append(what)

    @property
    def total(self) -> int:
        with self.lock:
            return self.keys.total()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, handler: type[BaseHTTPRequestHandler], receiver: Receiver) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.receiver = receiver

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a killed worker leaves broken connections


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: Any) -> None:
        pass

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def answer(self, code: int, document: Any = None, **headers: str) -> None:
        body = b"" if document is None else json.dumps(document).encode()
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def misbehave(self, fault: Any) -> bool:
        """Whether the fault was one of the connection."""
        if fault == "hang":
            time.sleep(30)
            self.close_connection = True
            return True
        if fault == "close":
            self.close_connection = True
            return True
        return False


class _Telegram(_Handler):
    def do_POST(self) -> None:
        document = json.loads(self.body())
        receiver = self.server.receiver
        fault = receiver.next_fault()
        if self.misbehave(fault):
            return
        if self.path != f"/bot{TOKEN}/sendMessage":
            self.answer(401, {"ok": False, "error_code": 401, "description": "Unauthorized"})
        elif document["chat_id"] == 404:
            said = {"ok": False, "error_code": 400, "description": "Bad Request: chat not found"}
            self.answer(400, said)
        elif document["chat_id"] == 403:
            said = {"ok": False, "error_code": 403, "description": "Forbidden: bot was blocked by the user"}
            self.answer(403, said)
        elif fault == 429:
            said = {
                "ok": False,
                "error_code": 429,
                "description": "Too Many Requests: retry after 1",
                "parameters": {"retry_after": 1},
            }
            self.answer(429, said)
        elif fault is not None:
            self.answer(fault, {"ok": False, "error_code": fault, "description": "Internal Server Error"})
        else:
            reference = re.search(r"#([0-9a-f]{12})$", document["text"])
            receiver.take(reference[1] if reference else "none", document)
            time.sleep(receiver.slow_s)
            self.answer(200, {"ok": True, "result": {"message_id": receiver.requests}})


class _Webhook(_Handler):
    def do_POST(self) -> None:
        body = self.body()
        receiver = self.server.receiver
        fault = receiver.next_fault()
        if self.misbehave(fault):
            return
        if fault is not None:
            headers = {"Location": "http://169.254.169.254/"} if 300 <= fault < 400 else {"Retry_After": "1"}
            self.answer(fault, {"error": "as told"}, **headers)
            return
        try:
            # what docs/user/notifications.md tells receivers to do; users.id is 1
            document = Webhook(signing_secret(SECRET, 1)).verify(body, dict(self.headers))
        except WebhookVerificationError:
            self.answer(401, {"error": "bad signature"})
            return
        assert document["id"] == self.headers["webhook-id"]
        receiver.take(document["id"], document)
        time.sleep(receiver.slow_s)
        self.answer(204)


class _Mailbox:
    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: Any
    ) -> str:
        if address.startswith("nobody@"):
            return "550 5.1.1 no such user here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        fault = self.receiver.next_fault()
        if fault is not None:
            return str(fault)
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.receiver.take(mail["Message-ID"].strip("<>").partition("@")[0], (envelope.rcpt_tos, mail))
        await asyncio.sleep(self.receiver.slow_s)
        return "250 OK"


@dataclass
class Receivers:
    """All three, and the environment that points a worker at them."""

    telegram: Receiver
    webhook: Receiver
    mail: Receiver
    webhook_url: str
    environment: dict[str, str]


@contextmanager
def _serving(handler: type[BaseHTTPRequestHandler], receiver: Receiver) -> Iterator[str]:
    server = _Server(handler, receiver)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def receivers() -> Iterator[Receivers]:
    telegram, webhook, mail = Receiver(), Receiver(), Receiver()
    with ExitStack() as stack:
        telegram_url = stack.enter_context(_serving(_Telegram, telegram))
        webhook_url = stack.enter_context(_serving(_Webhook, webhook))
        port = free_port()
        smtp = Controller(_Mailbox(mail), hostname="127.0.0.1", port=port)
        smtp.start()
        stack.callback(smtp.stop)
        yield Receivers(
            telegram,
            webhook,
            mail,
            f"{webhook_url}/hook",
            {
                "BOTFLEET_TELEGRAM_TOKEN": TOKEN,
                "BOTFLEET_TELEGRAM_API_URL": telegram_url,
                "BOTFLEET_SMTP_HOST": "127.0.0.1",
                "BOTFLEET_SMTP_PORT": str(port),
                "BOTFLEET_SMTP_TLS": "none",
                "BOTFLEET_SMTP_FROM": "Botfleet <botfleet@example.com>",
                "BOTFLEET_WEBHOOK_SECRET": SECRET,
                "BOTFLEET_WEBHOOK_ALLOW_PRIVATE": "true",
                "BOTFLEET_WEBHOOK_HTTP_HOSTS": '["127.0.0.1"]',
                "BOTFLEET_HTTP_PORT": "0",
                "BOTFLEET_HTTP_HOST": "127.0.0.1",
            },
        )
