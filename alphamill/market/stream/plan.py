"""Which streams go over which connection, and in which messages they are asked for."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from urllib.parse import quote

# A message of more bytes is not answered, nor is any after it; the frame's head is 8 of 4096
# (binance-connector-rust issue 27).
MESSAGE_BYTES = 4_088
# Servers have refused addresses of more than 8,004 characters; proxies on the way may sooner.
URL_BYTES = 4_000


def assign(
    names: Collection[str], most: int, before: Sequence[Collection[str]] = ()
) -> list[tuple[str, ...]]:
    """The names of each connection, none with more than `most`.

    Names stay where they were `before`; new ones go to the connection with the fewest, and to as
    many new connections as it takes. A connection that has lost all its names stays, empty.
    ValueError if `most` is not above 0.
    """
    if most < 1:
        raise ValueError("a connection carries at least one stream")
    wanted = dict.fromkeys(names)
    # One that carries more than it may now gives up the latest.
    kept = [[name for name in held if name in wanted][:most] for held in before]
    placed = {name for held in kept for name in held}
    new = [name for name in wanted if name not in placed]
    room = sum(most - len(held) for held in kept)
    kept += [[] for _ in range(-(-max(0, len(new) - room) // most))]
    for name in new:
        min(kept, key=len).append(name)
    return [tuple(held) for held in kept]


def address(base: str, path: str, names: Sequence[str]) -> tuple[str, list[str]]:
    """The URL of a combined connection with as many names as fit, and the names that do not."""
    url = base.rstrip("/")
    route = path.rpartition("/")[0]
    url = (url.removesuffix(route) if route else url) + path
    fit = 0
    for name in names:
        longer = f"{url}{'/' if fit else '?streams='}{quote(name, safe='@')}"
        if len(longer) > URL_BYTES:
            break
        url, fit = longer, fit + 1
    return url, list(names[fit:])


def commands(method: str, names: Sequence[str], first_id: int) -> Iterator[tuple[int, str]]:
    """Ids and texts of the messages that ask for all names, each within MESSAGE_BYTES."""
    ident, batch = first_id, list[str]()
    for name in names:
        if batch and len(_command(method, [*batch, name], ident).encode()) > MESSAGE_BYTES:
            yield ident, _command(method, batch, ident)
            ident, batch = ident + 1, []
        batch.append(name)
    if batch:
        yield ident, _command(method, batch, ident)


def _command(method: str, names: Sequence[str], ident: int) -> str:
    message = {"method": method, "params": list(names), "id": ident}
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False)
