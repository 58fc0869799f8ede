"""No secret in any text that leaves a program: a log line, a row, a message to people, a terminal.

Two ways, both always applied. **Known values**: every program hands the secrets that it was given to `guard`,
`guard_url` or `guard_environment`; wherever such a value turns up (as it is, percent-encoded, escaped, in base64 with
its user), it is masked, whatever stands around it. **Forms**: passwords of URLs, tokens in webhooks' paths, named
values (`password=`, `"apiKey": "…"`, `Authorization: Bearer …`), signatures, private keys, web tokens, long random
words. Forms catch what nobody handed over, such as the keys of a strategy's own service.

Guarantees: total; time linear in the text's length, whatever the text is; masking twice changes nothing; ordinary
words stay (`tokens_used`, "the token is 5 % up", paths, names of pods, order ids, durations).

Limits, on purpose. A known value shorter than `ANYWHERE` is masked only where it stands alone, and only when it mixes
letters with digits or signs; one shorter than `SHORTEST`, or one of `WORDS`, is masked by its form alone: a password
`a` must not eat every a. Half a secret is recognised at the ends of
a text only: mask first, cut afterwards (`safe_text` does both).

Pure but for the register of known values, which a program fills at its start.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, Final

from fleet.foreign import CUT, DEPTH_LIMIT, clean_text

MASK: Final = "***"

SHORTEST: Final = 5
"""Characters of a known value that is looked for at all."""

ANYWHERE: Final = 8
"""From here on a known value is masked inside other words too."""

WORDS: Final = frozenset(
    {
        "botfleet",
        "postgres",
        "postgresql",
        "password",
        "changeme",
        "localhost",
        "binance",
        "telegram",
        "sandbox",
        "database",
        "controller",
        "botrunner",
        "secret",
        "token",
        "admin",
    }
)
"""Passwords of test set-ups that are ordinary words of our logs."""

TEXT_LIMIT: Final = 1 << 20
"""Characters that are looked at; what is longer loses its rest, and the word that the cut went through."""

CUT_FROM: Final = 100
"""Characters of a text that may have been cut by those who made it, maybe within a known value."""

MESSAGE: Final = 8_000
"""Characters of an error message in a row."""
TITLE: Final = 500
BODY: Final = 20_000
"""Characters of a notification in the outbox."""


# --- known values --------------------------------------------------------------------------------------------------


class _Known:
    """The register: secrets as one pattern, replaced as a whole, so that threads see the old or the new one."""

    def __init__(self) -> None:
        self.values: frozenset[tuple[str, bool]] = frozenset()
        self.pattern: re.Pattern[str] | None = None

    def add(self, values: Iterable[tuple[str, bool]]) -> None:
        merged = self.values | frozenset(values)
        if merged != self.values:
            self.pattern = _pattern(merged)
            self.values = merged


_known = _Known()


def guard(*secrets: str | None, user: str | None = None) -> None:
    """Mask these values from now on, wherever they turn up.

    Args:
        secrets: passwords, tokens, keys; None and empty ones are left out.
        user: whom a password belongs to: the two together are sent as base64 by HTTP and SMTP.
    """
    _known.add(form for secret in secrets if secret for form in _forms(secret, user))


def guard_url(text: str | None) -> None:
    """Mask the password of a URL, or of a libpq connection text, from now on; of a mistyped one whatever may be it."""
    if not text:
        return
    if "://" not in text:
        userinfo = text.rpartition("@")[0]
        starts = [at + 1 for at, sign in enumerate(userinfo) if sign == ":"]
        guard(*(part for at in starts for part in (userinfo[at:], _unquoted(userinfo[at:]))))
    scheme, _, whole = text.strip().partition("://")
    rests = [found["rest"] for found in _URL.finditer(text)] + ([whole] if scheme.isalnum() else [])
    for rest in rests:
        userinfo, behind = _userinfo(rest)
        user, _, password = userinfo.partition(":")
        host, _, path = behind.partition("/")
        # a test set-up's user is its password too, and is no secret
        if password not in (user, host, host.partition(":")[0], path.partition("?")[0]):
            guard(password, _unquoted(password), user=_unquoted(user))
    for found in _CONNINFO_PASSWORD.finditer(text):
        quoted = found["quoted"]
        guard(re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else found["plain"])


def guard_environment(environment: Mapping[str, str]) -> None:
    """Mask what the environment's names say is secret, and the passwords of all URLs in it."""
    for name, value in environment.items():
        if "://" in value or "password=" in value or ("@" in value and name.upper().endswith("URL")):
            guard_url(value)
        if is_secret_name(name) and name not in _NAMES_OF_OBJECTS and "://" not in value:
            guard(value)


def forget() -> None:
    """Empty the register; for tests."""
    _known.values, _known.pattern = frozenset(), None


_NAMES_OF_OBJECTS = frozenset({"BOTFLEET_BOT_DATABASE_SECRET"})
"""Their values are names of Secrets, not secrets."""


def _forms(secret: str, user: str | None) -> Iterable[tuple[str, bool]]:
    """How a value may be written, each with whether it must stand alone."""
    value = secret.strip()
    if len(value) < SHORTEST or value in WORDS:
        return
    alone = len(value) < ANYWHERE
    if alone and (value.isalpha() or value.isdigit()):
        return
    quoted = {_quoted(value), _quoted(value).replace("%20", "+"), _quoted(value, keep="/")}
    for form in {
        value,
        *quoted,
        *(_ESCAPED_BYTE.sub(lambda found: found[0].lower(), it) for it in quoted),
        json.dumps(value)[1:-1],
        repr(value)[1:-1],
        repr(value.encode())[2:-1],
    }:
        if len(form) >= SHORTEST:
            yield form, alone
    for pair in {value, *({f"{user}:{value}", f"\0{user}\0{value}"} if user else set())}:
        encoded = binascii.b2a_base64(pair.encode("utf-8", "surrogatepass"), newline=False).decode().rstrip("=")
        if len(encoded) >= ANYWHERE:
            yield encoded, False


def _pattern(values: frozenset[tuple[str, bool]]) -> re.Pattern[str] | None:
    """All values, longest first: of two of which one begins like the other, the longer is masked."""
    ordered = sorted(values, key=lambda it: (-len(it[0]), it))
    parts = [rf"(?<!\w){re.escape(text)}(?!\w)" if alone else re.escape(text) for text, alone in ordered]
    return re.compile("|".join(parts)) if parts else None


_ESCAPED_BYTE = re.compile("%[0-9A-F]{2}")
_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~")


def _quoted(text: str, keep: str = "") -> str:
    """Percent-encoded."""
    return "".join(
        letter
        if letter in _SAFE or letter in keep
        else "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", "replace"))
        for letter in text
    )


def _unquoted(text: str) -> str:
    """Percent-decoded, as far as it can be."""
    raw = re.sub(rb"%([0-9A-Fa-f]{2})", lambda found: bytes([int(found[1], 16)]), text.encode("utf-8", "surrogatepass"))
    return raw.decode("utf-8", "replace")


# --- names ---------------------------------------------------------------------------------------------------------

_LAST = frozenset(
    {
        "password",
        "passwords",
        "passwd",
        "passphrase",
        "pgpassword",
        "secret",
        "secrets",
        "token",
        "tokens",
        "apikey",
        "apikeys",
        "apisecret",
        "signature",
        "authorization",
        "credential",
        "credentials",
        "jwt",
        "cookie",
    }
)
_LAST_TWO = frozenset(
    {
        (owner, key)
        for owner in ("api", "secret", "private", "signing", "access", "encryption", "webhook", "auth")
        for key in ("key", "keys")
    }
    | {("smtp", "pass"), ("db", "pass"), ("user", "pass"), ("webhook", "url")}
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def is_secret_name(name: str) -> bool:
    """Whether what has this name is secret: its last words say so (`smtp_password`, `apiKey`, `X-MBX-APIKEY`).

    `tokens_used`, `password_changed_at`, `secret_name`, `secretary` and `idempotency_key` aren't.
    """
    words = [word.lower() for word in _WORD.findall(name[-80:])]
    return bool(words) and (words[-1] in _LAST or tuple(words[-2:]) in _LAST_TWO)


# --- forms ---------------------------------------------------------------------------------------------------------
# Each pattern is linear: what it looks at it takes, or it is bounded, or it can't begin inside of what it looked at.

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,20})://(?P<rest>(?:(?![A-Za-z]://)[^\s\"'<>`|\\])+)")
_CONNINFO_PASSWORD = re.compile(r"\bpassword\s{0,5}=\s{0,5}(?:'(?P<quoted>(?:[^'\\]|\\.)*+)'|(?P<plain>[^\s'&]+))")

_CAPABILITIES = re.compile(
    r"(?P<head>/bot|hooks\.slack\.com/(?:services|workflows|triggers)/"
    r"|discord(?:app)?\.com/api/(?:v\d{1,3}/)?webhooks/|webhook\.office\.com/webhookb2/)"
    r"(?P<secret>[^\s\"'<>?#]+)",
    re.IGNORECASE,
)
_BOT_TOKEN = re.compile(r"\d{3,20}(?::|%3A)[^/]+", re.IGNORECASE)

_NAME = (
    r"(?:x-mbx-apikey|api[-_ ]?key|api[-_ ]?secret|(?:pg)?passw(?:or)?d|passphrase"
    r"|(?:private|signing|access|auth)[-_]?key|secret(?:[-_]?(?:access[-_]?)?key)?|signature|token|authorization|jwt)"
)
_NAMED = re.compile(
    rf"(?P<head>{_NAME}(?P<after>\\{{0,4}}[\"']?)\s{{0,5}}(?P<sep>:=|=>|[=:])(?P<gap>\s{{0,5}}))"
    r"(?P<scheme>b?\\{0,4}[\"']?(?:bearer|basic|token|digest|apikey)\s{1,5})?"
    r"(?:(?P<open>b?\\{1,4}[\"'])(?P<escaped>[^\"'\\\n]*+)"
    r"|(?P<double>b?\")(?P<in_double>(?:[^\"\\\n]|\\.)*+)"
    r"|(?P<single>b?')(?P<in_single>(?:[^'\\\n]|\\.)*+)"
    r"|(?P<plain>(?:[^\s&\"'<>,;)}\]]|[,;)}\]](?![\s\"'<>)}\],;&]|\w{1,40}[=:]|\Z))++))",
    re.IGNORECASE,
)
_STATED = re.compile(rf"(?P<head>\b{_NAME}\s{{1,5}}(?:is|was)\s{{1,5}}[\"']?)(?P<value>[^\s\"']+)", re.IGNORECASE)
_SCHEME = re.compile(r"(?P<head>\b(?:bearer|basic)\s{1,5})(?P<value>[A-Za-z0-9._~+/=-]{8,})", re.IGNORECASE)
_SMTP = re.compile(r"(?P<head>\bAUTH\s(?:PLAIN|LOGIN|CRAM-MD5|XOAUTH2)\s)(?P<value>[A-Za-z0-9+/=]{4,})", re.IGNORECASE)
_OPAQUE = re.compile(
    r"(?<!\d)\d{6,20}(?::|%3[Aa])[A-Za-z0-9_-]{30,}"  # a Telegram bot's token
    r"|(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)?"  # a JSON web token
    r"|-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)"
    r"|(?<![A-Za-z0-9_-])(?:xox[abeoprs]-|gh[opusr]_|github_pat_|glpat-|sk-|sk_live_|AKIA|ASIA)[A-Za-z0-9_-]{16,}",
    re.DOTALL,
)
_LONG = re.compile(r"(?<![A-Za-z0-9+/_=-])(?P<head>sha256:)?(?P<word>[A-Za-z0-9+/_-]{40,})(?P<tail>={0,2})")
_RUN = re.compile(r"[A-Za-z0-9]+")

_SAID = frozenset(
    {
        "missing",
        "invalid",
        "required",
        "unset",
        "empty",
        "none",
        "null",
        "true",
        "false",
        "expired",
        "unknown",
        "expected",
        "wrong",
        "forbidden",
        "unauthorized",
        "absent",
        "ok",
        "not",
        "rejected",
        "revoked",
        "malformed",
        "denied",
        "refused",
    }
)
"""What is said about a secret after a colon, and is none."""


def redact(text: str, *, also: Iterable[str] = ()) -> str:
    """The text with every secret masked.

    Args:
        text: of any size; beyond TEXT_LIMIT it is cut.
        also: secret values of this one occasion, such as the address that a message goes to.
    """
    if len(text) > TEXT_LIMIT:
        text = _without_last_word(text[:TEXT_LIMIT]) + CUT
    known = _known.pattern
    if known is not None:
        text = _mask_ends(known.sub(MASK, text))
    for value in also:
        if len(value) >= ANYWHERE:
            text = text.replace(value, MASK)
    text = _OPAQUE.sub(MASK, text)
    text = _URL.sub(_mask_url, text)
    text = _CAPABILITIES.sub(_mask_capability, text)
    text = _SMTP.sub(rf"\g<head>{MASK}", text)
    text = _NAMED.sub(_mask_named, text)
    text = _STATED.sub(_mask_stated, text)
    text = _SCHEME.sub(_mask_scheme, text)
    return _LONG.sub(_mask_long, text)


def safe_text(foreign: object, limit: int, *, keep: str = "head", lines: bool = True) -> str:
    """Foreign text as it may be stored and shown: secrets masked, harmful characters gone, then cut.

    Args: as `clean_text`.
    """
    text = redact(foreign if isinstance(foreign, str) else clean_text(foreign, TEXT_LIMIT))
    # a secret that an escape sequence was hidden in is whole once that is gone
    cleaned = redact(clean_text(text, limit + 4_000, keep=keep, lines=lines))
    return clean_text(cleaned, limit, keep=keep, lines=lines)


def safe_fields(row: Mapping[str, Any], **limits: int) -> dict[str, Any]:
    """The row with these texts made safe, each with its limit; None stays."""
    return {
        **row,
        **{name: None if row[name] is None else safe_text(row[name], limit) for name, limit in limits.items()},
    }


def safe_notification(notification: Mapping[str, Any]) -> dict[str, Any]:
    """A notification with its title, body and facts made safe."""
    return {
        **safe_fields(notification, title=TITLE, body=BODY),
        "facts": safe_json(notification["facts"], MESSAGE),
    }


def safe_json(value: Any, limit: int, *, depth: int = DEPTH_LIMIT) -> Any:
    """A JSON document with every text in it made safe, and with what its keys call secret masked."""
    if isinstance(value, str):
        return safe_text(value, limit)
    if depth <= 0 and isinstance(value, Mapping | list | tuple):
        return CUT
    if isinstance(value, Mapping):
        return {
            safe_text(key, limit): MASK
            if isinstance(inner, str) and is_secret_name(str(key))
            else safe_json(inner, limit, depth=depth - 1)
            for key, inner in value.items()
        }
    return [safe_json(inner, limit, depth=depth - 1) for inner in value] if isinstance(value, list | tuple) else value


def _mask_ends(text: str) -> str:
    """A known value that a cut went through, at the end or the beginning of a text that is long enough to be cut."""
    if len(text) < CUT_FROM:
        return text
    end, begin = text.rstrip(CUT)[-SHORTEST:], text.lstrip(CUT)[:SHORTEST]
    for value, alone in _known.values:
        if alone:
            continue
        at = value.find(end)
        if at >= 0 and text.rstrip(CUT).endswith(value[: at + SHORTEST]):
            text = text.rstrip(CUT)[: -(at + SHORTEST)] + MASK
        at = value.find(begin)
        if at >= 0 and text.lstrip(CUT).startswith(value[at:]):
            text = MASK + text.lstrip(CUT)[len(value) - at :]
    return text


def _without_last_word(text: str) -> str:
    words = text[-5_000:].split()
    return text[: len(text) - len(words[-1])] if words and not text[-1].isspace() else text


def _userinfo(rest: str) -> tuple[str, str]:
    """What stands before the host, and what follows it; raw `/` and `@` in a password are taken for what they are."""
    end = min((rest.find(sign) for sign in "/?#" if sign in rest), default=len(rest))
    at = rest.rfind("@", 0, end)
    if at < 0 and "@" in rest:
        # no host before the path: a port is a number, anything else is a password with a slash in it
        port = rest[:end].partition(":")[2]
        if ":" in rest[:end] and not port.isdigit():
            at = rest.rfind("@")
    return (rest[:at], rest[at + 1 :]) if at >= 0 else ("", rest)


def _mask_url(found: re.Match[str]) -> str:
    userinfo, rest = _userinfo(found["rest"])
    if not userinfo:
        return found[0]
    user, colon, password = userinfo.partition(":")
    web = found["scheme"].lower().startswith("http")
    shown = MASK if web and _is_random(user) else user
    return f"{found['scheme']}://{shown}{':' + MASK if colon and password else colon}@{rest}"


def _mask_capability(found: re.Match[str]) -> str:
    """A path that is a password: who knows it may post."""
    head, secret = found["head"], found["secret"]
    if head.lower() != "/bot":
        return head + MASK
    token, slash, rest = secret.partition("/")
    return f"{head}{MASK}{slash}{rest}" if _BOT_TOKEN.fullmatch(token) else found[0]


def _mask_named(found: re.Match[str]) -> str:
    scheme = found["scheme"] or ""
    for mark, inside in (("open", "escaped"), ("double", "in_double"), ("single", "in_single")):
        if found[mark] is not None:
            return found[0] if _is_masked(found[inside]) else f"{found['head']}{scheme}{found[mark]}{MASK}"
    prose = not scheme and found["sep"] == ":" and found["gap"] and _is_prose(found)
    return found[0] if prose or _is_masked(found["plain"]) else f"{found['head']}{scheme}{MASK}"


def _is_prose(found: re.Match[str]) -> bool:
    """Whether a sentence goes on after `token: `."""
    value = found["plain"].rstrip(".!?" + CUT)
    if found["after"] or not value.isalpha():
        return False
    following = found.string[found.end() : found.end() + 2]
    goes_on = following[:1] in (" ", "'") and following[1:2].isalpha()
    return goes_on or value.lower() in _SAID or found["plain"].endswith(CUT)


def _mask_stated(found: re.Match[str]) -> str:
    value = found["value"]
    mixed = len(value) >= 6 and any(it.isalpha() for it in value) and any(it.isdigit() for it in value)
    quoted = found["head"][-1] in "\"'"
    return found["head"] + MASK if not _is_masked(value) and (quoted or mixed) else found[0]


def _mask_scheme(found: re.Match[str]) -> str:
    return found["head"] + MASK if _is_random(found["value"]) or found["value"].endswith("=") else found[0]


def _mask_long(found: re.Match[str]) -> str:
    """Keys and signatures have 40 and more letters and digits; an order's id has 32, a digest says what it is."""
    word = found["word"]
    if found["head"]:
        return found[0]
    base64 = bool(found["tail"]) or "+" in word
    runs = _RUN.findall(word)
    secret = any(_is_key(run) for run in runs) or (base64 and any(it.isdigit() for it in word))
    return MASK if secret else found[0]


def _is_key(run: str) -> bool:
    """Whether letters and digits are as mixed as chance does it."""
    kinds = ["0" if letter.isdigit() else "A" if letter.isupper() else "a" for letter in run]
    if len(run) >= 40:
        return "0" in kinds
    changes = sum(one != other for one, other in pairwise(kinds))
    return len(run) >= 16 and len(set(kinds)) == 3 and changes * 5 >= len(run) * 2


def _is_random(word: str) -> bool:
    """Whether a word is a token rather than a word."""
    mixed = any(it.isupper() for it in word[1:]) and any(it.islower() for it in word)
    return len(word) >= 8 and (mixed or any(it.isdigit() for it in word))


def _is_masked(value: str) -> bool:
    return not value.strip("*" + CUT)
