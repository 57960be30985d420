"""Each model of a tier is asked at its own endpoint, with that endpoint's key and no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from pydantic import SecretStr

from alphamill.errors import Misconfigured
from alphamill.llm.breaker.memory import MemoryBreaker
from alphamill.llm.prices import PriceTable
from alphamill.llm.routes import SettingsRoutes
from alphamill.settings import LLMSettings, ModelSettings, Price, Tier, TierSettings, load_settings

CONFIG = """
[llm]
api_key = "sk-common-0123"
[llm.tiers.quick_scan]
model = "gpt-4.1-mini"
fallbacks = [
    "gpt-4.1",
    { model = "deepseek-flash", url = "https://api.deepseek.com/v1", key_env = "DEEPSEEK" },
    { model = "tiny", url = "http://127.0.0.1:8080/v1", price = { input = 0, output = 0 } },
    { model = "renamed", price = "gpt-4.1" },
]
"""


class Gate:
    def __init__(self, tier: str, url: str) -> None:
        self.where = (tier, url)

    def at_once(self, tokens: int) -> None: ...
    def reserve(self, tokens: int) -> None: ...
    def settle(self, slot: object, tokens: int | None) -> None: ...
    def pause(self, for_s: float, reason: str) -> None: ...


Load = Callable[..., LLMSettings]


@pytest.fixture
def load(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Load]:
    def loaded(text: str = CONFIG, **environ: str) -> LLMSettings:
        config = tmp_path_factory.mktemp("config") / "a.toml"
        config.write_text(text)
        return load_settings({"ALPHAMILL_CONFIG": str(config), **environ}).llm

    return loaded


def routes(llm: LLMSettings, keys: dict[str, str | None] | None = None) -> SettingsRoutes:
    def breaker(url: str, key: SecretStr | None) -> MemoryBreaker:
        if keys is not None:
            keys[url] = key.get_secret_value() if key else None
        return MemoryBreaker()

    return SettingsRoutes(llm, PriceTable.shipped(llm.prices), Gate, breaker)


def test_every_model_has_its_endpoint_key_and_price(load: Load) -> None:
    keys: dict[str, str | None] = {}
    llm = load(DEEPSEEK="sk-deep-0123")
    found = routes(llm, keys)
    made = [found.route("quick_scan", chosen) for chosen in llm.tiers[Tier.QUICK_SCAN].models]
    assert [(route.model, route.host) for route in made] == [
        ("gpt-4.1-mini", "api.openai.com"),
        ("gpt-4.1", "api.openai.com"),
        ("deepseek-flash", "api.deepseek.com"),
        ("tiny", "127.0.0.1:8080"),
        ("renamed", "api.openai.com"),
    ]
    assert keys == {
        "https://api.openai.com/v1": "sk-common-0123",
        "https://api.deepseek.com/v1": "sk-deep-0123",
        "http://127.0.0.1:8080/v1": None,  # the common key is the common endpoint's
    }
    assert made[0].chat is made[1].chat is made[4].chat
    assert made[0].gate is made[1].gate is not made[2].gate
    assert made[3].price.worst_case_micros(1000, 1000, 0) == 0
    assert made[4].price.price.output == 8.0
    elsewhere = found.route("detailed_analysis", llm.tiers[Tier.DETAILED_ANALYSIS])
    assert elsewhere.chat is made[0].chat
    assert elsewhere.gate is not made[0].gate


def test_a_key_that_is_named_and_missing_is_told_when_it_is_wanted(load: Load) -> None:
    llm = load()
    found = routes(llm)
    primary, _, other, *_ = llm.tiers[Tier.QUICK_SCAN].models
    assert found.route("quick_scan", primary).host == "api.openai.com"
    with pytest.raises(Misconfigured) as raised:
        found.route("quick_scan", other)
    assert raised.value.setting == "DEEPSEEK"


@pytest.mark.parametrize(
    "asked",
    [
        ModelSettings(model="gpt-4.1", url="http://evil.example/v1"),
        ModelSettings(model="gpt-4.1", url="http://evil.example/v1", key_env="DEEPSEEK"),
        ModelSettings(model="gpt-4.1", key_env="AWS_SECRET_ACCESS_KEY"),
        ModelSettings(model="gpt-4.1", url="https://api.deepseek.com/v1", key_file="/etc/passwd"),
    ],
)
def test_a_message_cannot_send_a_key_elsewhere(load: Load, asked: ModelSettings) -> None:
    found = routes(load(DEEPSEEK="sk-deep-0123"))
    with pytest.raises(Misconfigured, match="do not name"):
        found.route("quick_scan", asked)


def test_a_tiers_settings_survive_the_queue(load: Load) -> None:
    tier = load().tiers[Tier.QUICK_SCAN]
    again = TierSettings.model_validate(tier.model_dump(mode="json"))
    assert again == tier
    assert again.fallbacks[2].price == (Price(input=0, output=0),)
    assert "sk-" not in tier.model_dump_json()


def test_keys_come_from_files_too(load: Load, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("keys") / "deep"
    text = CONFIG.replace('key_env = "DEEPSEEK"', f'key_file = "{file}"')
    with pytest.raises(Misconfigured, match="cannot read"):
        routes(load(text)).route("quick_scan", load(text).tiers[Tier.QUICK_SCAN].models[2])
    file.write_text("sk-file-0123\n")
    keys: dict[str, str | None] = {}
    routes(load(text), keys).route("quick_scan", load(text).tiers[Tier.QUICK_SCAN].models[2])
    assert keys == {"https://api.deepseek.com/v1": "sk-file-0123"}


def test_the_environment_points_a_tier_elsewhere(load: Load) -> None:
    llm = load(
        ALPHAMILL_LLM_DETAILED_ANALYSIS_MODEL="deepseek-v4-pro",
        ALPHAMILL_LLM_DETAILED_ANALYSIS_URL="https://api.deepseek.com/v1",
        ALPHAMILL_LLM_DETAILED_ANALYSIS_API_KEY="sk-detail-0123",
    )
    tier = llm.tiers[Tier.DETAILED_ANALYSIS]
    assert (tier.model, tier.max_tokens) == ("deepseek-v4-pro", 1200)
    key = llm.key(llm.endpoint(tier))
    assert key is not None
    assert key.get_secret_value() == "sk-detail-0123"
    assert tier.reasoning_effort == ""  # another model may not know the default one's word
    final = llm.tiers[Tier.FINAL_VERIFICATION]  # the others as they were
    assert (final.model, final.reasoning_effort) == ("gpt-6-luna", "none")


def test_the_effort_is_the_models_own(load: Load) -> None:
    text = """
[llm.tiers.quick_scan]
max_tokens = 500
fallbacks = ["gpt-4.1", { model = "gpt-6.1-terra", reasoning_effort = "low" }]
"""
    tier = load(text).tiers[Tier.QUICK_SCAN]
    ways = [routes(load(text)).route("quick_scan", chosen) for chosen in tier.models]
    assert [(way.model, way.reasoning_effort) for way in ways] == [
        ("gpt-6-luna", "none"),
        ("gpt-4.1", ""),
        ("gpt-6.1-terra", "low"),
    ]
    assert "reasoning_effort" not in tier.model_dump(mode="json")["fallbacks"][0]  # old runs' ids


def test_the_switch_of_thinking_goes_with_its_model(load: Load) -> None:
    text = """
[llm.tiers.quick_scan]
model = "qwen3.7-plus"
price = { input = 1, output = 2 }
extra_body = { enable_thinking = false }
fallbacks = [
    "gpt-4.1",
    { model = "gpt-6.1-terra", extra_body = { thinking = { type = "disabled" } } },
]
"""
    tier = load(text).tiers[Tier.QUICK_SCAN]
    ways = [routes(load(text)).route("quick_scan", chosen) for chosen in tier.models]
    assert [way.extra_body for way in ways] == [
        {"enable_thinking": False},
        {},
        {"thinking": {"type": "disabled"}},
    ]
    assert "extra_body" not in tier.model_dump(mode="json")["fallbacks"][0]  # old runs' ids


@pytest.mark.parametrize(
    ("text", "named"),
    [
        # Each would cost what was not reserved, or undo what the mill says itself.
        ("extra_body = { n = 5 }", "llm.tiers.quick_scan.extra_body.n"),
        ("extra_body = { max_tokens = 9000 }", "llm.tiers.quick_scan.extra_body.max_tokens"),
        ('extra_body = { model = "dear" }', "llm.tiers.quick_scan.extra_body.model"),
        ('extra_body = { service_tier = "x" }', "llm.tiers.quick_scan.extra_body.service_tier"),
        ('key_env = "sk-pasted-0123"', "llm.tiers.quick_scan.key_env"),
        ('url = "https://user:pw@host/v1"', "llm.tiers.quick_scan.url"),
        ('url = "host/v1"', "llm.tiers.quick_scan.url"),
        ("concurrency = 0", "llm.tiers.quick_scan.concurrency"),
        ('fallbacks = [{ url = "http://x/v1" }]', "llm.tiers.quick_scan.fallbacks.0.model"),
    ],
)
def test_a_bad_tier_names_its_setting_and_not_its_value(load: Load, text: str, named: str) -> None:
    with pytest.raises(Misconfigured) as raised:
        load(f"[llm.tiers.quick_scan]\n{text}\n")
    assert raised.value.setting.startswith(named)
    assert "sk-pasted" not in str(raised.value)
    assert "pw@" not in str(raised.value)


def test_a_key_with_odd_characters_is_refused_by_the_name_of_its_variable(load: Load) -> None:
    with pytest.raises(Misconfigured) as raised:
        load(DEEPSEEK="two words")
    assert raised.value.setting == "DEEPSEEK"
    assert "two words" not in str(raised.value)


HEADERS = (
    CONFIG
    + """
[llm.headers."http://127.0.0.1:8080/v1/"]
x-portkey-provider = "openai"
[llm.headers_env."http://127.0.0.1:8080/v1"]
x-portkey-api-key = "PORTKEY"
[llm.headers_env."https://api.deepseek.com/v1"]
x-team = "TEAM"
"""
)


def test_headers_of_an_endpoint_go_there_alone_and_are_as_secret_as_keys(load: Load) -> None:
    llm = load(HEADERS, PORTKEY=" pk-0123456789abcdef ")
    primary, _, other, local, _ = llm.tiers[Tier.QUICK_SCAN].models
    sent = llm.headers_of(llm.endpoint(local))
    assert {name: value.get_secret_value() for name, value in sent.items()} == {
        "x-portkey-provider": "openai",
        "x-portkey-api-key": "pk-0123456789abcdef",
    }
    assert llm.headers_of(llm.endpoint(primary)) == {}
    with pytest.raises(Misconfigured, match="x-team") as raised:
        llm.headers_of(llm.endpoint(other))
    assert raised.value.setting == "TEAM"
    assert routes(llm).route("quick_scan", local).host == "127.0.0.1:8080"
    dumped = llm.tiers[Tier.QUICK_SCAN].model_dump_json()  # what a run's message holds
    assert "pk-0123" not in repr(llm) + llm.model_dump_json() + dumped
    assert "portkey" not in dumped


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ('Authorization = "Bearer x"', "set by the client itself"),
        ('x-one = "two\\nlines"', "characters that no header has"),
        ('"x one" = "1"', "should match pattern"),
    ],
)
def test_headers_that_cannot_be_are_refused(load: Load, headers: str, why: str) -> None:
    with pytest.raises(Misconfigured, match=why) as raised:
        load(f'{CONFIG}\n[llm.headers."http://127.0.0.1:8080/v1"]\n{headers}\n')
    assert "two" not in str(raised.value)


def test_a_variable_that_no_header_can_hold_is_refused_and_not_repeated(load: Load) -> None:
    with pytest.raises(Misconfigured, match="no header has") as raised:
        load(HEADERS, PORTKEY="pk-one\nline")
    assert raised.value.setting == "PORTKEY"
    assert "pk-one" not in str(raised.value)
