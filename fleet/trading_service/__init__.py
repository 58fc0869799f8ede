"""The only place with SQL for bots and runs; one function is one transaction.

`bots`, `runs` and `shards` serve the controller and the command line (async), `lease` and `ledger` the bot (sync).
"""
