"""Only the process that claimed the run acts as the bot: a copy that `os.fork` made of it ends instead.

Code of others (a strategy, a package that forks workers) may return from a fork into the bot's own loop. The copy has
the claim's token and shares the connections' sockets: it would commit, garble its parent's session and release its
parent's run. So the places where a process acts as the bot look first. A fork whose child never comes back here
(multiprocessing, subprocess) is none of the bot's business.
"""

from __future__ import annotations

import os

from fleet.exit_codes import EXIT_FENCED

_OWNER = os.getpid()


def end_if_copy() -> None:
    """Return in the bot's process; end any copy of it at once, without touching what both share.

    No logger, no clean-up: a lock may have been held by a thread that the copy lacks, and a connection that is closed
    properly is closed for the parent too.
    """
    if os.getpid() != _OWNER:
        os.write(2, b'{"event": "forked_copy_ended", "owner": %d, "pid": %d}\n' % (_OWNER, os.getpid()))
        os._exit(EXIT_FENCED)  # as of a process that has no run; nobody waits for it but who forked
