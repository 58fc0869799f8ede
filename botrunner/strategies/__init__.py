"""Strategies: closed bars in, signals out. CustomStrategy is composed of an entry and an exit mixin."""
