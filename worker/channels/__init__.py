"""The ways to people and programs. Each is one module: `telegram`, `mail`, `webhook`.

What they share: `messages` (the words), `outcome` (what came of an attempt), `routing` (who is told where, and not
before when), `signature` (how a receiver knows that a webhook is ours), `http` (the requests of Telegram and webhooks).
"""
