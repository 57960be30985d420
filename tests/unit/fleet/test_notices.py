"""Where notices go, what is in them, and that their secret is nowhere else."""

from __future__ import annotations

import traceback

import pytest

from alphamill.errors import Misconfigured
from alphamill.fleet.notices import Notice, _body
from alphamill.settings import load_settings
from alphamill.settings.notify import Destination, destination

SECRET = "s3cr3t"
HOSTILE = Notice("a", "alarm", "<b>title</b>", "*text* [x](http://evil.test) <script>", run="r")


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        (
            f"https://hooks.test/T0/{SECRET}?a=b",
            ("webhook", f"https://hooks.test/T0/{SECRET}?a=b", "", "", ""),
        ),
        ("ntfy://ntfy.sh/mill", ("ntfy", "https://ntfy.sh/", "mill", "", "")),
        (
            "ntfy://me:p%40ss@ntfy.test:8443/mill_1",
            ("ntfy", "https://ntfy.test:8443/", "mill_1", "me", "p@ss"),
        ),
        (f"ntfy+http://:{SECRET}@box/m", ("ntfy", "http://box/", "m", "", SECRET)),
        (
            f"telegram://123:AB-{SECRET}@-100200",
            (
                "telegram",
                f"https://api.telegram.org/bot123:AB-{SECRET}/sendMessage",
                "-100200",
                "",
                "",
            ),
        ),
        (
            "telegram://123:AB@@mill_news",
            ("telegram", "https://api.telegram.org/bot123:AB/sendMessage", "@mill_news", "", ""),
        ),
    ],
)
def test_a_url_says_where_and_how(url, meant):
    found = destination(url)
    assert (found.kind, found.url, found.to, found.user, found.password) == meant
    assert SECRET not in repr(found)
    assert SECRET not in found.name


@pytest.mark.parametrize(
    "url",
    [
        f"ftp://host/{SECRET}",
        f"https:///{SECRET}",
        f"https://host:port/{SECRET}",
        f"ntfy://host/{SECRET}/more",
        f"ntfy://host/{SECRET}?x=y",
        "ntfy://host",
        f"telegram://{SECRET}",
        f"telegram://1:{SECRET}@chat/..",
        f"https://host/{SECRET}\r\nX: y",
        SECRET,
    ],
)
def test_any_other_is_refused_with_the_cure_and_without_the_secret(url):
    with pytest.raises(Misconfigured) as refused:
        load_settings({"ALPHAMILL_NOTIFY_URL": url})
    shown = "".join(traceback.format_exception(refused.value))
    assert "ALPHAMILL_NOTIFY_URL" in shown
    assert "write https://" in shown
    assert SECRET not in shown


def test_settings_do_not_show_it():
    settings = load_settings({"ALPHAMILL_NOTIFY_URL": f"https://h.test/{SECRET}"})
    assert SECRET not in repr(settings)
    assert SECRET not in settings.model_dump_json()
    assert load_settings({}).notify_url is None
    assert load_settings({"ALPHAMILL_NOTIFY_URL": ""}).notify_url is None


def test_nobody_is_told_to_take_text_for_markup():
    telegram = _body(Destination("telegram", "", "", "1"), HOSTILE)
    assert telegram == {"chat_id": "1", "text": f"{HOSTILE.title}\n{HOSTILE.text}"}
    ntfy = _body(Destination("ntfy", "", "", "mill"), HOSTILE)
    assert ntfy == {"topic": "mill", "title": HOSTILE.title, "message": HOSTILE.text, "priority": 4}
    webhook = _body(Destination("webhook", "", ""), HOSTILE)
    assert webhook["text"] == HOSTILE.text
    assert set(webhook) == {"id", "event", "title", "text", "run", "state"}
