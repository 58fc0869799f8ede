"""Candles from files as people have them: `reader.read_candle_file` is the one way in."""
