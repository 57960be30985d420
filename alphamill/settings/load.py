"""All settings: one frozen object, read once from the environment and a TOML file.

The environment wins over the file, the file over the defaults. A bad value raises Misconfigured
naming the setting; nothing starts with half a configuration.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tomllib
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError, field_validator

from alphamill.errors import Misconfigured
from alphamill.evaluation import GateThresholds
from alphamill.settings.exchange import BinanceSettings
from alphamill.settings.fields import Count, Frozen, Positive
from alphamill.settings.models import KEY_VARIABLE, BudgetSettings, LLMSettings, Tier, read_key
from alphamill.settings.notify import destination
from alphamill.settings.research import (
    FeeSettings,
    PortfolioSettings,
    SearchSettings,
    SegmentSettings,
)

WEBHOOK_SECRET = "ALPHAMILL_WEBHOOK_SECRET"  # noqa: S105  a variable's name

ENVIRONMENT: Mapping[str, tuple[str, ...]] = {
    "ALPHAMILL_HOME": ("home",),
    "ALPHAMILL_LAKE": ("lake",),
    "ALPHAMILL_REDIS_URL": ("redis_url",),
    "ALPHAMILL_BROKER_URL": ("broker_url",),
    "ALPHAMILL_NOTIFY_URL": ("notify_url",),
    WEBHOOK_SECRET: ("webhook_secret",),
    "ALPHAMILL_BINANCE_URL": ("binance", "spot_url"),
    "ALPHAMILL_BINANCE_UM_URL": ("binance", "um_url"),
    "ALPHAMILL_BINANCE_CM_URL": ("binance", "cm_url"),
    "ALPHAMILL_ARCHIVE_URL": ("binance", "archive_url"),
    "ALPHAMILL_STREAM_URL": ("binance", "stream_url"),
    "ALPHAMILL_UM_STREAM_URL": ("binance", "um_stream_url"),
    "ALPHAMILL_CM_STREAM_URL": ("binance", "cm_stream_url"),
    "ALPHAMILL_BINANCE_EGRESS": ("binance", "egress"),
    "ALPHAMILL_LLM_URL": ("llm", "url"),
    KEY_VARIABLE: ("llm", "api_key"),
    **{
        f"ALPHAMILL_LLM_{tier.value.upper()}_{field.upper()}": ("llm", "tiers", tier.value, field)
        for tier in Tier
        for field in ("model", "url")
    },
}
KEY_FILE = f"{KEY_VARIABLE}_FILE"  # a file that holds the key; the variable above wins

_FOREIGN = re.compile(
    r"(AWS|FLOWER|CELERY|NUMBA)_|(SSL_CERT_FILE|SSL_CERT_DIR|(REQUESTS|CURL)_CA_BUNDLE)$"
)

LOCAL_REDIS = "redis://127.0.0.1:6379/0"
QUOTED = "write / ? # @ % in the password as %2F %3F %23 %40 %25"
_FOLDER = ".alphamill"
REDIS_ENDPOINT_FILE = "redis.url"  # in HOME, written by the embedded server, mode 0600


class LedgerSettings(Frozen):
    """How jobs are remembered and handed out."""

    lease_s: Positive = 60.0
    window: Count = 64  # messages of one run outstanding on one queue
    max_attempts: Count = 4
    republish_after_s: Positive = 20.0  # a message not claimed by then is published again


def default_home() -> Path:
    """The nearest `.alphamill` of this user at or above the current folder, else `~/.alphamill`.

    So a running stack is found from every folder, and a project may have a home of its own. One
    that another user owns is passed by: whoever can write above us must not name our Redis.
    """
    try:
        here = Path.cwd()
        fallback = Path.home() / _FOLDER
    except (OSError, RuntimeError):  # a folder that is gone, or a user without a home
        return Path(_FOLDER)
    for folder in (here, *here.parents):
        with contextlib.suppress(OSError):
            found = (folder / _FOLDER).stat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
                return folder / _FOLDER
    return fallback


class Settings(Frozen):
    """Everything that can be set. Environment variables: see `ENVIRONMENT`."""

    home: Path = Field(default_factory=default_home)
    lake: str = ""  # folder or s3://bucket/prefix; "" means HOME/lake
    # redis://, rediss://, unix:///path/of.sock or redis+sentinel://HOST,HOST/MASTER/DB
    redis_url: str = ""  # "" means the embedded server of HOME if it runs, else LOCAL_REDIS
    broker_url: str = ""  # "" means the same Redis
    notify_url: SecretStr | None = None  # webhook, ntfy or Telegram: settings.notify
    webhook_secret: SecretStr | None = None  # signs what `alphamill live` posts
    binance: BinanceSettings = BinanceSettings()
    llm: LLMSettings = LLMSettings()
    budget: BudgetSettings = BudgetSettings()
    search: SearchSettings = SearchSettings()
    segments: SegmentSettings = SegmentSettings()
    portfolio: PortfolioSettings = PortfolioSettings()
    fees: FeeSettings = FeeSettings()
    gates: GateThresholds = GateThresholds()
    ledger: LedgerSettings = LedgerSettings()

    @field_validator("notify_url")
    @classmethod
    def _is_a_destination(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        destination(value.get_secret_value())
        return value

    @property
    def lake_uri(self) -> str:
        """Where the parquet lies; an absolute path or s3://bucket/prefix."""
        if self.lake.startswith("s3://"):
            return self.lake.rstrip("/")
        return str((Path(self.lake) if self.lake else self.home / "lake").resolve())


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from ALPHAMILL_* variables over the ALPHAMILL_CONFIG file over the defaults.

    A variable that is empty, as Compose passes what is not set, counts as not set. environ: None is
    this process's own, from which those are removed that a library would take for a value.
    Raises Misconfigured, naming the variable or the TOML key.
    """
    if environ is None:
        _forget_empty(os.environ)
        environ = os.environ
    config = environ.get("ALPHAMILL_CONFIG", "")
    data = _read_toml(Path(config)) if config else {}
    for variable, path in ENVIRONMENT.items():
        if environ.get(variable):
            _put(data, path, environ[variable])
    if environ.get(KEY_FILE) and not environ.get(KEY_VARIABLE):
        _put(data, ("llm", "api_key"), read_key(Path(environ[KEY_FILE]), KEY_FILE))
    if environ.get(f"{WEBHOOK_SECRET}_FILE") and not environ.get(WEBHOOK_SECRET):
        file = Path(environ[f"{WEBHOOK_SECRET}_FILE"])
        _put(data, ("webhook_secret",), read_key(file, f"{WEBHOOK_SECRET}_FILE"))
    for tier in Tier:
        _name_key(data, tier, environ)
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        raise _as_misconfigured(error, environ) from None
    settings = settings.model_copy(update={"llm": settings.llm.with_keys(environ)})
    _check_address("ALPHAMILL_REDIS_URL", settings.redis_url)
    _check_address("ALPHAMILL_BROKER_URL", settings.broker_url)
    if not settings.redis_url:
        settings = settings.model_copy(update={"redis_url": _embedded_url(settings.home)})
    return settings


def _forget_empty(environ: MutableMapping[str, str]) -> None:
    """Remove empty variables that are not ours and are read all the same.

    An empty SSL_CERT_FILE trusts nobody, an empty AWS_PROFILE or AWS_CA_BUNDLE is not found, and an
    empty FLOWER_BASIC_AUTH lets nobody in.
    """
    for name in [name for name, value in environ.items() if not value and _FOREIGN.match(name)]:
        del environ[name]


def _check_address(setting: str, url: str) -> None:
    """Raise Misconfigured for Sentinels over TLS, and for a password that cuts its URL in two.

    Whoever reads the latter takes part of the password for a host, a port or a database, and would
    show it in messages.
    """
    if url.startswith("rediss+sentinel:"):
        raise Misconfigured(
            setting,
            "Sentinels are not asked over TLS",  # nobody here has tried kombu's and redis-py's way
            "write redis+sentinel://, or rediss:// to a proxy that follows the master",
        )
    rest = url.partition("://")[2]
    if "@" in rest[len(re.split("[/?#]", rest, maxsplit=1)[0]) :] and not url.startswith("unix:"):
        raise Misconfigured(setting, "a character of the password ends it too early", QUOTED)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise Misconfigured(
            "ALPHAMILL_CONFIG", f"cannot read {path} ({error.strerror})", "name a readable file"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(
            "ALPHAMILL_CONFIG", f"{path} is not valid TOML ({error})", "correct that line"
        ) from error


def _name_key(data: dict[str, Any], tier: Tier, environ: Mapping[str, str]) -> None:
    """ALPHAMILL_LLM_TIER_API_KEY, or ..._FILE, is where the key of a tier's model is."""
    variable = f"ALPHAMILL_LLM_{tier.value.upper()}_API_KEY"
    path = ("llm", "tiers", tier.value)
    if environ.get(variable):
        _put(data, (*path, "key_env"), variable)
    elif environ.get(f"{variable}_FILE"):
        _put(data, (*path, "key_env"), "")
        _put(data, (*path, "key_file"), environ[f"{variable}_FILE"])


def _put(data: dict[str, Any], path: tuple[str, ...], value: str) -> None:
    """Set data[path[0]][path[1]]... to `value`; Misconfigured where the file has no table there."""
    section = data
    for key in path[:-1]:
        section = section.setdefault(key, {})
        if not isinstance(section, dict):
            raise Misconfigured(key, "is not a table", f"write [{key}] and its keys below it")
    section[path[-1]] = value


def _as_misconfigured(error: ValidationError, environ: Mapping[str, str]) -> Misconfigured:
    first = error.errors(include_url=False, include_input=False)[0]
    path = tuple(str(part) for part in first["loc"] if part != "[key]")
    variables = [name for name, where in ENVIRONMENT.items() if where == path and environ.get(name)]
    name = variables[0] if variables else ".".join(path) or "ALPHAMILL_CONFIG"
    said = first["msg"].removeprefix("Value error, ")
    problem = said[:1].lower() + said[1:]
    return Misconfigured(name, problem, "see alphamill.example.toml")


def _embedded_url(home: Path) -> str:
    try:
        return (home / REDIS_ENDPOINT_FILE).read_text(encoding="ascii").strip() or LOCAL_REDIS
    except OSError:
        return LOCAL_REDIS
