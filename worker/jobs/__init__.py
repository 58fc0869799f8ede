"""What the worker does on a timer beside the outbox: summaries, performance metrics, deleting what is kept for a while.

Each job is on its own: one that fails leaves the others alone, and what a turn didn't get done is for the next one.
"""
