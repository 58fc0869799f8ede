"""A local exchange that speaks Binance's spot REST API over recorded or synthetic candles, in simulated time.

It stands alone, like a real exchange: clients know its URL and nothing else of it. Tests steer it under `/_sandbox/`.
"""
