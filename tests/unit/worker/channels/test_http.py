"""The guard of the resolver against names that lead inside, and how much of an answer is read."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.worker.channels.names import Names
from worker.channels.http import Answer, ForbiddenAddress, GuardedResolver, HttpClient, refusal


def guarded(*addresses: str) -> tuple[GuardedResolver, Names]:
    resolver = GuardedResolver()
    names = Names(*addresses)
    resolver._resolver = names  # type: ignore[assignment]
    return resolver, names


@pytest.mark.parametrize(
    "addresses",
    [
        ("127.0.0.1",),
        ("93.184.216.34", "10.0.0.1"),  # the system may connect to any of them, and does when the first is silent
        ("93.184.216.34", "2606:2800:220:1::1", "169.254.169.254"),
        ("93.184.216.34", "64:ff9b::a9fe:a9fe"),  # NAT64 of 169.254.169.254
        ("2606:2800:220:1::1", "::ffff:127.0.0.1"),
        ("2606:2800:220:1::1", "2002:7f00:1::"),
    ],
    ids=" ".join,
)
async def test_one_address_inside_among_public_ones_is_enough_to_refuse(addresses: tuple[str, ...]) -> None:
    resolver, _ = guarded(*addresses)
    with pytest.raises(ForbiddenAddress, match=r"hook\.example leads to .* is not a public address"):
        await resolver.resolve("hook.example", 443)


async def test_public_addresses_come_through_as_they_are() -> None:
    resolver, names = guarded("93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822")
    found = await resolver.resolve("hook.example", 8443, 10)
    assert [each["host"] for each in found] == list(names.addresses)
    assert names.asked == [("hook.example", 8443, 10)]
    await resolver.resolve("hook.example")
    assert names.asked[-1] == ("hook.example", 0, 0)
    await resolver.close()
    assert names.closed


def test_the_guards_refusal_is_found_however_deep_it_is() -> None:
    guard = ForbiddenAddress("inside")
    wrapped = OSError("connect")
    wrapped.os_error = guard  # type: ignore[attr-defined]  # aiohttp's way
    caused = OSError("connect")
    caused.__cause__ = guard
    of_itself = OSError("connect")
    of_itself.os_error = of_itself  # type: ignore[attr-defined]
    of_itself.__cause__ = wrapped
    of_text = OSError("connect")
    of_text.os_error = "text"  # type: ignore[attr-defined]
    of_text.__cause__ = caused
    for error in (guard, wrapped, caused, of_itself, of_text):
        assert refusal(error) is guard
    of_itself.__cause__ = None
    for error in (OSError("other"), of_itself):
        assert refusal(error) is None


async def test_an_answer_in_pieces_is_read_up_to_the_limit() -> None:
    """A document that arrives in two packets can be read as one."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        for part in (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 12\r\n\r\nonetwo", b"three4"):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.05)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    client = HttpClient(channel="webhook", timeout_s=5, answer_limit=10)
    try:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
        assert await client.post(url, body=b"{}", headers={}) == Answer(400, "onetwothre", None)
    finally:
        await client.close()
        server.close()
