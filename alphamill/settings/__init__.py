"""All settings: one frozen object, read once from the environment and a TOML file.

The environment wins over the file, the file over the defaults. A bad value raises Misconfigured
naming the setting; nothing starts with half a configuration.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from alphamill.errors import Misconfigured
from alphamill.frames import Market
from alphamill.settings.models import (
    KEY_VARIABLE,
    Count,
    Endpoint,
    Frozen,
    LLMSettings,
    ModelSettings,
    PeakPrice,
    Positive,
    Price,
    Tier,
    TierSettings,
    read_key,
)

__all__ = [
    "BinanceSettings",
    "BudgetSettings",
    "Endpoint",
    "FeeSettings",
    "GateSettings",
    "LLMSettings",
    "LedgerSettings",
    "ModelSettings",
    "PeakPrice",
    "PortfolioSettings",
    "Price",
    "SearchSettings",
    "SegmentSettings",
    "Settings",
    "Tier",
    "TierSettings",
    "load_settings",
]

Fraction = Annotated[float, Field(gt=0, lt=1)]


ARCHIVE_URL = "https://data.binance.vision"
# The archive holds these hosts' bars. It must not be mixed with a simulator's or a testnet's.
_ARCHIVED = re.compile(
    r"https://(api(\d|-gcp)?|[fd]api)\.binance\.com/?|https://data-api\.binance\.vision/?"
)


class BinanceSettings(Frozen):
    """The exchange: where it is and how much of it we may use."""

    spot_url: str = "https://api.binance.com"
    um_url: str = "https://fapi.binance.com"
    cm_url: str = "https://dapi.binance.com"
    archive_url: str = ARCHIVE_URL
    archive: bool = True  # past months come from the archive's files, at no request weight
    stream_url: str = "wss://stream.binance.com:9443"
    requests_per_minute: Count = 1200
    weight_frac: Annotated[float, Field(gt=0, le=1)] = 0.98  # of the limit that exchangeInfo states
    window_s: Positive = 60.0  # length of the exchange's fixed windows; tests scale it down
    guard_ms: Annotated[int, Field(ge=0)] = 100  # kept clear on both sides of a window's edge
    egress: str = "default"  # machines that share this name share one IP's limit
    timeout_s: Positive = 15.0

    def url(self, market: Market) -> str:
        """Where a market's API is."""
        urls = {Market.SPOT: self.spot_url, Market.USD_M: self.um_url, Market.COIN_M: self.cm_url}
        return urls[market]

    def archive_for(self, exchange_url: str) -> str:
        """The archive with the bars of the exchange at `exchange_url`; "" if there is none to use.

        Binance's own archive goes with Binance's own hosts; beside any other host, `archive_url`
        must name that host's archive.
        """
        foreign = self.archive_url.rstrip("/") == ARCHIVE_URL and not _ARCHIVED.fullmatch(
            exchange_url
        )
        return self.archive_url if self.archive and not foreign else ""


class BudgetSettings(Frozen):
    """Hard caps, in US dollars."""

    run_usd: Positive = 1.0
    day_usd: Positive = 10.0


class SearchSettings(Frozen):
    """What a run starts from, and when later rounds are not worth asking for (None: never for it).

    A candidate counts as promising when its |t| on discovery reaches `promising_t`.
    """

    # Of those that earlier runs in the lake admitted, the newest: what they say is not new. 0: none
    library_factors: Annotated[int, Field(ge=0)] = 50

    promising_t: Positive = 3.0
    max_hours: Positive | None = None  # since the run was submitted
    enough_promising: Count | None = None
    max_usd_per_promising: Positive | None = None  # expected of the next one


class SegmentSettings(Frozen):
    """How a run's time is cut, and the label."""

    discovery_frac: Fraction = 0.4
    validation_frac: Fraction = 0.3  # the rest is the holdout
    horizon_bars: Count = 4
    # 1: a signal at the close of bar t trades at the open of bar t+1. 0: at that very close
    entry_lag_bars: Annotated[int, Field(ge=0)] = 1
    returns: Literal["simple", "log"] = "simple"  # of the label; a book's are always simple

    @model_validator(mode="after")
    def _leaves_a_holdout(self) -> SegmentSettings:
        if self.discovery_frac + self.validation_frac >= 1:
            raise ValueError("discovery_frac + validation_frac must leave a holdout (below 1)")
        return self


class PortfolioSettings(Frozen):
    """How a factor becomes a book. Below three symbols it is each one's z-score in time."""

    weighting: Literal["rank", "quantile", "zscore"] = "rank"  # across symbols, long-short
    quantiles: Annotated[int, Field(ge=2)] = 5  # "quantile": long the highest, short the lowest
    participation_frac: Annotated[float, Field(gt=0, le=1)] = 0.01  # of a bar's volume: capacity


class FeeSettings(Frozen):
    """Cost of trading, one way, in basis points of the traded value."""

    taker_bps: Annotated[float, Field(ge=0)] = 10.0
    maker_bps: float = 10.0  # of an order that waited in the book; negative: a rebate
    maker_frac: Annotated[float, Field(ge=0, le=1)] = 0.0  # of the traded value filled as maker
    spread_bps: Annotated[float, Field(ge=0)] = 1.0  # half of the quoted; not for makers


class GateSettings(Frozen):
    """What a factor must pass; docs/verdicts.md argues each default."""

    validation_t: float = 1.64
    fdr: Fraction = 0.05  # Benjamini-Hochberg, over all trials of the run
    deflated_sharpe: Fraction = 0.95
    holdout_t: float = 1.64
    out_of_sample_t: float = 3.0  # of both together; Harvey, Liu and Zhu (2016)
    coverage: Fraction = 0.8
    library_correlation: Fraction = 0.7


class LedgerSettings(Frozen):
    """How jobs are remembered and handed out."""

    lease_s: Positive = 60.0
    window: Count = 64  # messages of one run outstanding on one queue
    max_attempts: Count = 4
    republish_after_s: Positive = 20.0  # a message not claimed by then is published again


class Settings(Frozen):
    """Everything that can be set. Environment variables: see `ENVIRONMENT`."""

    home: Path = Path(".alphamill")
    lake: str = ""  # folder or s3://bucket/prefix; "" means HOME/lake
    redis_url: str = ""  # "" means the embedded server of HOME if it runs, else LOCAL_REDIS
    broker_url: str = ""  # "" means the same Redis
    binance: BinanceSettings = BinanceSettings()
    llm: LLMSettings = LLMSettings()
    budget: BudgetSettings = BudgetSettings()
    search: SearchSettings = SearchSettings()
    segments: SegmentSettings = SegmentSettings()
    portfolio: PortfolioSettings = PortfolioSettings()
    fees: FeeSettings = FeeSettings()
    gates: GateSettings = GateSettings()
    ledger: LedgerSettings = LedgerSettings()

    @property
    def lake_uri(self) -> str:
        """Where the parquet lies; an absolute path or s3://bucket/prefix."""
        if self.lake.startswith("s3://"):
            return self.lake.rstrip("/")
        return str((Path(self.lake) if self.lake else self.home / "lake").resolve())


ENVIRONMENT: Mapping[str, tuple[str, ...]] = {
    "ALPHAMILL_HOME": ("home",),
    "ALPHAMILL_LAKE": ("lake",),
    "ALPHAMILL_REDIS_URL": ("redis_url",),
    "ALPHAMILL_BROKER_URL": ("broker_url",),
    "ALPHAMILL_BINANCE_URL": ("binance", "spot_url"),
    "ALPHAMILL_BINANCE_UM_URL": ("binance", "um_url"),
    "ALPHAMILL_BINANCE_CM_URL": ("binance", "cm_url"),
    "ALPHAMILL_ARCHIVE_URL": ("binance", "archive_url"),
    "ALPHAMILL_STREAM_URL": ("binance", "stream_url"),
    "ALPHAMILL_LLM_URL": ("llm", "url"),
    KEY_VARIABLE: ("llm", "api_key"),
    **{
        f"ALPHAMILL_LLM_{tier.value.upper()}_{field.upper()}": ("llm", "tiers", tier.value, field)
        for tier in Tier
        for field in ("model", "url")
    },
}
KEY_FILE = f"{KEY_VARIABLE}_FILE"  # a file that holds the key; the variable above wins

LOCAL_REDIS = "redis://127.0.0.1:6379/0"
REDIS_ENDPOINT_FILE = "redis.url"  # in HOME, written by the embedded server, mode 0600


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Misconfigured(
            "ALPHAMILL_CONFIG", f"cannot read {path} ({error.strerror})", "name a readable file"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(
            "ALPHAMILL_CONFIG", f"{path} is not valid TOML ({error})", "correct that line"
        ) from error


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from ALPHAMILL_* variables over the ALPHAMILL_CONFIG file over the defaults.

    Raises Misconfigured, naming the variable or the TOML key.
    """
    environ = os.environ if environ is None else environ
    config = environ.get("ALPHAMILL_CONFIG", "")
    data = _read_toml(Path(config)) if config else {}
    for variable, path in ENVIRONMENT.items():
        if environ.get(variable):
            _put(data, path, environ[variable])
    if environ.get(KEY_FILE) and not environ.get(KEY_VARIABLE):
        _put(data, ("llm", "api_key"), read_key(Path(environ[KEY_FILE]), KEY_FILE))
    for tier in Tier:
        _name_key(data, tier, environ)
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        raise _as_misconfigured(error, environ) from None
    settings = settings.model_copy(update={"llm": settings.llm.with_keys(environ)})
    if not settings.redis_url:
        settings = settings.model_copy(update={"redis_url": _embedded_url(settings.home)})
    return settings


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
    path = tuple(str(part) for part in first["loc"])
    variables = [name for name, where in ENVIRONMENT.items() if where == path and environ.get(name)]
    name = variables[0] if variables else ".".join(path) or "ALPHAMILL_CONFIG"
    problem = first["msg"][:1].lower() + first["msg"][1:]
    return Misconfigured(name, problem, "see alphamill.example.toml")


def _embedded_url(home: Path) -> str:
    try:
        return (home / REDIS_ENDPOINT_FILE).read_text(encoding="ascii").strip() or LOCAL_REDIS
    except OSError:
        return LOCAL_REDIS
