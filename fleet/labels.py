"""How a bot's pod is labelled: the names that people, the watch on pods and other people's tools select by. Pure."""

from __future__ import annotations

from typing import Final

NAME: Final = "app.kubernetes.io/name"
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
INSTANCE: Final = "app.kubernetes.io/instance"

BOT_ID: Final = "botfleet.dev/bot-id"
EPOCH: Final = "botfleet.dev/epoch"
CONFIG_VERSION: Final = "botfleet.dev/config-version"
TENANT: Final = "botfleet.dev/tenant"
"""The id of the user whose bot it is."""
MODE: Final = "botfleet.dev/mode"
"""`paper` or `live`."""

SETTINGS_HASH: Final = "botfleet.dev/settings-hash"
"""An annotation: what the pod got besides the bot's config."""

BOTRUNNER: Final = "botrunner"
"""The value of NAME."""
BOTFLEET: Final = "botfleet"
"""The value of MANAGED_BY."""

SELECTOR: Final = f"{MANAGED_BY}={BOTFLEET},{NAME}={BOTRUNNER}"
"""Selects every pod that a controller made for a bot."""
