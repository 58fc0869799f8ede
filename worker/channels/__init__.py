"""From the outbox to people: who is told where and when (`routing`), in which words (`messages`), how a receiver knows
that a webhook is ours (`signature`), and the channels themselves (`telegram`, `mail`, `webhook`).

The worker imports all of it; a bot and the controller import none of it.
"""
