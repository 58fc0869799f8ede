from __future__ import annotations

from sandbox_exchange.weights import Verdict, WeightLimiter
from tests.support import FakeClock


def _limiter(real: FakeClock, *, limit: int = 10) -> WeightLimiter:
    real.time = 6000.0  # the start of a minute
    return WeightLimiter(limit=limit, now_s=real.monotonic)


def test_weight_adds_up_by_address_and_minute() -> None:
    real = FakeClock()
    limiter = _limiter(real)

    assert limiter.charge("a", 4) == Verdict(200, 4)
    assert limiter.charge("a", 4) == Verdict(200, 8)
    assert limiter.charge("b", 4) == Verdict(200, 4)
    real.sleep(60)
    assert limiter.charge("a", 4) == Verdict(200, 4)


def test_too_much_weight_is_refused_until_the_minute_ends() -> None:
    real = FakeClock()
    limiter = _limiter(real)
    real.sleep(45.5)
    limiter.charge("a", 10)

    assert limiter.charge("a", 1) == Verdict(429, 10, retry_after_s=15)
    real.sleep(15)
    assert limiter.charge("a", 1).status == 200


def test_who_does_not_stop_is_banned_longer_each_time() -> None:
    real = FakeClock()
    limiter = _limiter(real)
    bans = []
    for _ in range(2):
        limiter.charge("a", 10)
        statuses = [limiter.charge("a", 1).status for _ in range(11)]
        assert statuses == [429] * 10 + [418]
        verdict = limiter.charge("a", 1)
        assert verdict.status == 418
        bans.append(verdict.retry_after_s)
        real.sleep(verdict.retry_after_s)

    assert bans == [120, 240]
    assert limiter.charge("a", 1).status == 200


def test_a_ban_outlasts_the_minute() -> None:
    real = FakeClock()
    limiter = _limiter(real)
    limiter.charge("a", 10)
    for _ in range(11):
        limiter.charge("a", 1)
    real.sleep(119)

    assert limiter.charge("a", 1) == Verdict(418, 0, retry_after_s=1)
    assert limiter.charge("b", 1).status == 200


def test_limit_zero_counts_without_refusing() -> None:
    limiter = _limiter(FakeClock(), limit=0)

    assert [limiter.charge("a", 5000).status for _ in range(5)] == [200] * 5
    assert limiter.charge("a", 1).used == 25_001
