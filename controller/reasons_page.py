"""docs/reference/reasons.md out of the tables of `decide.reasons`: what `make docs` writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controller.decide.reasons import ANSWERS, DISRUPTED, ENDED, NO_ANSWER, REFUSED, WAITING, Reason
from fleet.states import ExitReason

EXITS: Mapping[ExitReason, Reason] = {
    ExitReason.STOPPED: Reason("the bot was disabled or archived", "enable it to start it again"),
    ExitReason.SUPERSEDED: Reason("a newer config version took over, or a restart was asked for", "nothing to do"),
    ExitReason.RELEASED: Reason(
        "ended in good order though the controller hadn't asked: a deleted pod, a drain, an eviction",
        "nothing to do: it starts again by itself; the message says who ended it where that is known",
    ),
    ExitReason.FAILED: Reason(
        "the process ended with an error or was killed",
        "read the message, then `kubectl logs` of the pod or the log file; it is tried again with growing pauses",
    ),
    ExitReason.CONFIG_ERROR: Reason("the bot refused its config", "change the config: the message names the path"),
    ExitReason.FENCED_SILENT: Reason(
        "no heartbeat for T_dead; its right to trade was taken away",
        "check the pod's node and the network between it and the database",
    ),
    ExitReason.GAVE_UP: Reason(
        "the bot gave up for good; its position was dealt with as `trading.on_failure` says",
        "do what the message says, then switch the bot off and on",
    ),
    ExitReason.FENCED_HUNG: Reason(
        "heartbeats without progress, and it did not stop when asked", "look for an endless loop in the strategy"
    ),
    ExitReason.NOT_CLAIMED: Reason(
        "no pod could be created, or it never claimed its run", "do what the message says; it is tried again"
    ),
    ExitReason.GAVE_UP_DATABASE: Reason(
        "the process ended itself after T_exit without the database", "bring the database back; it starts again then"
    ),
}

_HEAD = """# Reasons

<!-- made by `make docs`; change the code it is made from instead -->

A bot's row (`trading_bots.error_message`), its runs (`botfleet bots runs NAME`) and the Events of its pod
(`kubectl describe pod`) say in one sentence what happened and, after the last semicolon, what to do. The sentence
contains what Kubernetes, the bot or its log said, without control characters and passwords, and cut if it is long.

Events on pods are `StopRequested`, `Deleting`, `Fenced` and `RunEnded`, each at most once for a pod. A pod that can't
be created has no Events; then the reason is in the row alone.
"""


def page() -> str:
    """The whole page."""
    return "\n".join(
        [
            _HEAD,
            *_table("Why a run ended (`exit_reason`)", ((f"`{key}`", each) for key, each in EXITS.items())),
            *_table("Why a pod waits", ((f"`{key}`", each) for key, each in WAITING.items())),
            *_table("Who ended a pod", ((f"`{key}`", each) for key, each in DISRUPTED.items())),
            *_table("How a container ended", ((f"`{key}`", each) for key, each in ENDED.items())),
            *_table(
                "What the API server answers to a request about a pod",
                [
                    *((f"... {text} ...", Reason("refused", todo)) for text, todo in REFUSED),
                    *(
                        (f"{status}{' and above' if status == 500 else ''}", Reason("", todo))
                        for status, todo in ANSWERS.items()
                    ),
                    ("no answer", Reason("", NO_ANSWER)),
                ],
            ),
        ]
    )


def _table(title: str, rows: Iterable[tuple[str, Reason]]) -> list[str]:
    lines = [f"| {name} | {reason.happened or '-'} | {reason.todo} |" for name, reason in rows]
    return [f"## {title}", "", "| reason | meaning | what to do |", "| --- | --- | --- |", *lines, ""]


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201
