"""Policy: what a bot does about its position, its orders and its strategy's wish. Pure functions from what is there to
intents with their reasons, or to a denial. No venue, no database, no Backtrader.

`entry` sizes and denies entries, `exit` leaves a position and says what an execution makes pointless, `protection`
places and moves stop and target. `terms` is what all of them start from, `intents` what they return.
"""
