"""The bot's own engine over candles that are all there already: backtests, and replays of what a bot saw.

Nothing of trading is written here a second time. `engine` drives the same StrategyInstance, BaseTradingBot and row
builder as a bot's process, with candles from a list, a clock that stands still and rows kept in memory; so a backtest
and a paper bot can't drift apart.
"""
