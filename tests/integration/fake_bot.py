"""A bot that trades nothing: claim, heartbeats, stop, like the real one, and faults on demand.

`BOTFLEET_FAKE_FAULT`: `crash` (exit 1 before going live), `hang` (heartbeats without progress, deaf to SIGTERM),
`refuse` (config error), `mute` (stops sending heartbeats, lives on), `slow N` (N seconds until it is live, without
progress, like imports on a busy machine), `exchange N` (the same, but it says that it waits for the exchange). Run as
a program by the process runtime.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time

from fleet.errors import FencedError
from fleet.foreign import object_of
from fleet.states import ExitReason
from fleet.trading_service.db import connect
from fleet.trading_service.lease import RunId, claim, heartbeat, mark_live, release

REASONS = {"stopped": ExitReason.STOPPED, "superseded": ExitReason.SUPERSEDED}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bot-id", type=int, required=True)
    parser.add_argument("--epoch", type=int, required=True)
    arguments = parser.parse_args()
    fault = os.environ.get("BOTFLEET_FAKE_FAULT", "")
    run = RunId(arguments.bot_id, arguments.epoch, f"{os.environ['BOTFLEET_POD_UID']}/{os.getpid()}")
    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        asked = True

    signal.signal(signal.SIGTERM, signal.SIG_IGN if fault == "hang" else ask)
    with connect(os.environ["BOTFLEET_DATABASE_URL"], application="fake bot") as connection:
        try:
            config = claim(connection, run).config
            fault = object_of(config).get("description") or fault
            if fault == "crash":
                print("something broke", flush=True)
                return 1
            if fault == "refuse":
                release(connection, run, exit_code=2, reason=ExitReason.CONFIG_ERROR, error_message="no such market")
                return 2
            kind, _, seconds = fault.partition(" ")
            if kind in ("slow", "exchange"):
                begun = time.monotonic()
                waiting = kind == "exchange"
                while (age_s := time.monotonic() - begun) < float(seconds) and not asked:
                    heartbeat(connection, run, progress_age_s=age_s, phase=f"{kind} start", waiting=waiting)
                    time.sleep(0.1)
            mark_live(connection, run)
            if fault == "mute":
                time.sleep(3600)
            started = time.monotonic()
            interval_s = float(os.environ["BOTFLEET_HEARTBEAT_INTERVAL_S"])
            while True:
                age_s = time.monotonic() - started if fault == "hang" else 0.0
                reply = heartbeat(connection, run, progress_age_s=age_s)
                if (reply.stop_requested or asked) and fault != "hang":
                    reason = REASONS.get(reply.stop_reason or "", ExitReason.RELEASED)
                    release(connection, run, exit_code=0, reason=reason)
                    return 0
                time.sleep(min(interval_s, 0.2))
        except FencedError:
            return 3


if __name__ == "__main__":
    sys.exit(main())
