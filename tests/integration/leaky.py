"""Other people's parts that show what they know: a strategy, a bot's process, an exchange, a mail server, a chat."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session

from cli.embedded import free_port

MIXIN = '''
import os
from pydantic import BaseModel
from botrunner.strategies.mixins import EntryMixin

class NoParams(BaseModel):
    """None."""

class LeakyEntryMixin(EntryMixin[NoParams]):
    """Raises with everything it can see."""

    params_model = NoParams

    def signal(self):
        raise RuntimeError(f"can't go on with {dict(os.environ)}")
'''


def install_mixin(folder: Path) -> Path:
    """A folder with an installed package that offers LeakyEntryMixin; for PYTHONPATH."""
    info = folder / "leaky_mixin-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: leaky_mixin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[botfleet.entry_mixins]\nLeakyEntryMixin = leaky_mixin:LeakyEntryMixin\n")
    (folder / "leaky_mixin.py").write_text(MIXIN)
    return folder


class _Echo(BaseHTTPRequestHandler):
    """Repeats the request in its error: path, headers, body, and what the test says the caller sent besides."""

    code = 400
    besides = ""

    def _answer(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        said = f"{self.command} {self.path} {dict(self.headers.items())} {sent[:200]} {self.besides}"
        document = {"code": -1022, "msg": said, "ok": False, "error_code": self.code, "description": said}
        body = json.dumps(document).encode()
        self.send_response(self.code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def echo(*, code: int = 400, besides: str = "") -> Iterator[str]:
    """The URL of a server that refuses everything by repeating it."""
    handler = type("Echo", (_Echo,), {"code": code, "besides": besides})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _refuse(_: Any, __: Session, ___: Envelope, mechanism: str, data: Any) -> AuthResult:
    assert isinstance(data, LoginPassword)
    user, password = data.login.decode(), data.password.decode()
    return AuthResult(success=False, handled=False, message=f"535 5.7.8 {mechanism}: {password} is wrong for {user}")


@contextmanager
def refusing_mail_server() -> Iterator[int]:
    """The port of a mail server that repeats the password it refuses."""
    port = free_port()
    server = Controller(
        object(), hostname="127.0.0.1", port=port, authenticator=_refuse, auth_require_tls=False, auth_required=True
    )
    server.start()
    try:
        yield port
    finally:
        server.stop()


def main() -> int:
    """A bot that dies at once, telling all it knows, as a crash before any logging does."""
    print("\n".join(f"{name}={value}" for name, value in os.environ.items()), file=sys.stderr)
    print(f"could not connect with {os.environ['BOTFLEET_DATABASE_URL']}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
