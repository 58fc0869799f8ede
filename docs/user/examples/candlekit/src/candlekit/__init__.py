"""Candle patterns for Botfleet. Each module is one entry point of pyproject.toml."""
