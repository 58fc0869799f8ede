"""What a run's changes tell people, as parts of the statements that make them: event and change commit together.

The parts read a CTE of the changed row: `live` (bot_id, epoch, config_version), `ended` (bot_id, epoch, exit_reason,
exit_code, error_message) or `adopted` (bot_id, epoch, config_version). They wait for nobody: `trading_notifications`
has no foreign keys, so a person who holds a bot's row doesn't delay a fence. Whether the owner wants to be told is
decided when the event is routed.
"""

from __future__ import annotations

from fleet.events import EventKind
from fleet.states import BotStatus, ExitReason

_INSERT = """
    INSERT INTO trading_notifications (bot_id, user_id, epoch, kind, severity, title, body, facts, dedupe_key)
"""

_OPEN = "EXISTS (SELECT FROM trading_positions p WHERE p.bot_id = b.id AND p.status = 'open')"

WENT_LIVE = f"""{_INSERT}
    SELECT b.id, b.user_id, live.epoch, kind.name, 'info',
        CASE kind.name
            WHEN '{EventKind.BOT_STARTED}' THEN 'Started'
            WHEN '{EventKind.CONFIG_APPLIED}' THEN format('Config version %%s is in effect', live.config_version)
            ELSE format('Started again after: %%s', before.exit_reason) END,
        format('Run %%s, config version %%s.', live.epoch, live.config_version)
            || CASE WHEN kind.name = '{EventKind.BOT_RESTARTED}' AND before.error_message IS NOT NULL
               THEN ' Before: ' || left(before.error_message, 1000) ELSE '' END
            || CASE WHEN {_OPEN} THEN ' It goes on with its open position.' ELSE '' END,
        jsonb_build_object('epoch', live.epoch, 'config_version', live.config_version,
                           'after', before.exit_reason),
        format('live:%%s:%%s', b.id, live.epoch)
    FROM live
    JOIN trading_bots b ON b.id = live.bot_id
    LEFT JOIN LATERAL (
        SELECT exit_reason, error_message FROM trading_runs r
        WHERE r.bot_id = live.bot_id AND r.epoch < live.epoch ORDER BY r.epoch DESC LIMIT 1
    ) before ON true
    CROSS JOIN LATERAL (SELECT CASE
        WHEN before.exit_reason IS NULL OR before.exit_reason = '{ExitReason.STOPPED}' THEN '{EventKind.BOT_STARTED}'
        WHEN before.exit_reason = '{ExitReason.SUPERSEDED}' THEN '{EventKind.CONFIG_APPLIED}'
        ELSE '{EventKind.BOT_RESTARTED}' END AS name) kind
    ON CONFLICT (dedupe_key) DO NOTHING
"""
"""A start, a restart with its reason, or a new config in effect."""

TOLD_ENDS = (
    ExitReason.STOPPED,
    ExitReason.FAILED,
    ExitReason.FENCED_SILENT,
    ExitReason.FENCED_HUNG,
    ExitReason.NOT_CLAIMED,
    ExitReason.GAVE_UP_DATABASE,
)
"""The others are told by what follows: the next run, or the config's rejection."""

ENDED = f"""{_INSERT}
    SELECT b.id, b.user_id, ended.epoch,
        CASE WHEN ended.exit_reason = '{ExitReason.STOPPED}' THEN '{EventKind.BOT_STOPPED}'
             ELSE '{EventKind.BOT_ERROR}' END,
        CASE WHEN ended.exit_reason = '{ExitReason.STOPPED}' THEN 'info' ELSE 'warning' END,
        CASE WHEN ended.exit_reason = '{ExitReason.STOPPED}' THEN 'Stopped'
             ELSE format('Run %%s ended: %%s', ended.epoch, ended.exit_reason) END,
        concat_ws(' ', NULLIF(left(ended.error_message, 1500), ''),
            CASE WHEN NOT {_OPEN} THEN NULL
                 WHEN ended.exit_reason = '{ExitReason.STOPPED}'
                 THEN 'Its position stays open, and nobody manages it.'
                 ELSE 'A position is open: the next run takes it over.' END),
        jsonb_build_object('epoch', ended.epoch, 'exit_reason', ended.exit_reason, 'exit_code', ended.exit_code),
        format('ended:%%s:%%s', b.id, ended.epoch)
    FROM ended
    JOIN trading_bots b ON b.id = ended.bot_id
    WHERE ended.exit_reason IN ({", ".join(f"'{reason}'" for reason in TOLD_ENDS)})
      -- a pod that can't start is tried for ever: the first time is told
      AND NOT (ended.exit_reason = '{ExitReason.NOT_CLAIMED}' AND EXISTS (
          SELECT FROM trading_runs r WHERE r.bot_id = ended.bot_id AND r.epoch = ended.epoch - 1
          AND r.exit_reason = '{ExitReason.NOT_CLAIMED}'))
    ON CONFLICT (dedupe_key) DO NOTHING
"""
"""A stop that was asked for, or a run that ended otherwise."""

ADOPTED = f"""{_INSERT}
    SELECT b.id, b.user_id, adopted.epoch, '{EventKind.CONFIG_APPLIED}', 'info',
        format('Config version %%s is in effect', adopted.config_version), 'Taken over without a restart.',
        jsonb_build_object('epoch', adopted.epoch, 'config_version', adopted.config_version),
        format('config_applied:%%s:%%s', b.id, adopted.config_version)
    FROM adopted JOIN trading_bots b ON b.id = adopted.bot_id
    ON CONFLICT (dedupe_key) DO NOTHING
"""
"""Limits or notifications that a running bot took over."""

REJECTED = f"""{_INSERT}
    SELECT shown.id, shown.user_id, NULL,
        CASE WHEN unwatched THEN '{EventKind.POSITION_UNWATCHED}' ELSE '{EventKind.CONFIG_REJECTED}' END,
        CASE WHEN unwatched THEN 'critical' ELSE 'warning' END,
        CASE WHEN unwatched THEN 'The config is rejected and a position is open: nobody watches it'
             ELSE 'The config is rejected' END,
        left(shown.error_message, 1500) || CASE WHEN unwatched
            THEN '. A POSITION IS OPEN and no stop of it is watched until a valid config runs' ELSE '' END,
        jsonb_build_object('config_version', shown.config_version),
        -- the row may have got a newer version since this one was judged: that one's verdict has another text
        format('config_rejected:%%s:%%s:%%s', shown.id, shown.config_version, md5(shown.error_message))
    FROM shown CROSS JOIN LATERAL (SELECT
        EXISTS (SELECT FROM trading_positions p WHERE p.bot_id = shown.id AND p.status = 'open')
        AND NOT EXISTS (SELECT FROM trading_runs r WHERE r.bot_id = shown.id AND r.ended_at IS NULL) AS unwatched) x
    WHERE shown.status = '{BotStatus.ERROR}' AND shown.error_message IS NOT NULL
    ON CONFLICT (dedupe_key) DO NOTHING
"""
"""The status `error` is shown: its config can't be run. Reads `shown`, the bot's row. An open position is held then, as
the config that would say what to do can't be read; where no run goes on with the last valid one, nobody watches it."""

SERVICE_STARTED = f"""{_INSERT}
    SELECT NULL, NULL, NULL, '{EventKind.SERVICE_STARTED}', 'info',
        format('Controller %%s took over', taken.holder), 'It decides for all bots from now on.',
        jsonb_build_object('holder', taken.holder, 'shard', taken.shard),
        format('service_started:%%s:%%s', taken.shard, taken.epoch)
    FROM taken
    ON CONFLICT (dedupe_key) DO NOTHING
"""

SERVICE_STOPPED = f"""{_INSERT}
    SELECT NULL, NULL, NULL, '{EventKind.SERVICE_STOPPED}', 'warning', format('Controller %%s stopped', left_it.holder),
        'Bots go on trading; nothing is started, stopped or fenced until a controller runs again.',
        jsonb_build_object('holder', left_it.holder, 'shard', left_it.shard),
        format('service_stopped:%%s:%%s', left_it.shard, left_it.epoch)
    FROM left_it
    ON CONFLICT (dedupe_key) DO NOTHING
"""
