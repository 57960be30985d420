"""Where notices go: a webhook, ntfy or Telegram, by one URL that may hold a secret."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote, urlsplit

SPELLINGS = (
    "write https://HOST/PATH for a webhook, ntfy://[USER:PASSWORD@]HOST/TOPIC or "
    "telegram://TOKEN@CHAT"
)
_TOPIC = re.compile(r"/([A-Za-z0-9_-]{1,64})")
_TELEGRAM = re.compile(r"telegram://(\d+:[A-Za-z0-9_-]+)@(-?\d+|@?[A-Za-z]\w+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a notice is posted. name: for people, without a secret.

    to: ntfy's topic or Telegram's chat. user, password: of ntfy; a password alone is a token.
    """

    kind: Literal["webhook", "ntfy", "telegram"]
    name: str
    url: str = field(repr=False)
    to: str = ""
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


def destination(url: str) -> Destination:
    """What a URL means. Raises ValueError, without the URL, for any other."""
    if url != url.strip() or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"holds characters that no URL has; {SPELLINGS}")
    if found := _TELEGRAM.fullmatch(url):
        token, chat = found.groups()
        api = f"https://api.telegram.org/bot{token}/sendMessage"
        return Destination("telegram", "Telegram", api, chat)
    scheme = url.partition("://")[0].lower()
    if scheme not in ("http", "https", "ntfy", "ntfy+http"):
        raise ValueError(f"is no address of notices; {SPELLINGS}")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"is no URL; {SPELLINGS}") from None
    if not host:
        raise ValueError(f"names no host; {SPELLINGS}")
    where = parts.netloc.rpartition("@")[2]
    if scheme in ("http", "https"):
        return Destination("webhook", f"the webhook at {host}", url)
    topic = _TOPIC.fullmatch(parts.path)
    if topic is None or parts.query:
        raise ValueError(f"names no topic of ntfy; {SPELLINGS}")
    base = f"{'http' if scheme == 'ntfy+http' else 'https'}://{where}/"
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    del port  # looked at so that a bad one is found here
    return Destination("ntfy", f"ntfy at {host}", base, topic[1], user, password)
