"""Settings come from the environment over a file over defaults, and a bad one names itself."""

import os
from pathlib import Path

import pytest

from alphamill.errors import Misconfigured
from alphamill.frames import Market
from alphamill.settings import ENVIRONMENT, LOCAL_REDIS, BinanceSettings, Tier, load_settings


def test_defaults_are_the_documented_ones(tmp_path):
    settings = load_settings({"ALPHAMILL_HOME": str(tmp_path)})
    assert settings.redis_url == LOCAL_REDIS
    assert settings.lake_uri == str(tmp_path / "lake")
    assert settings.binance.requests_per_minute == 1200
    assert set(settings.llm.tiers) == {"quick_scan", "detailed_analysis", "final_verification"}


@pytest.fixture
def person(tmp_path, monkeypatch):
    """A person's folder, with a project and a folder in it, which is the current one."""
    deep = tmp_path / "project" / "notebooks"
    deep.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(deep)
    return tmp_path


def test_one_home_from_every_folder(person, monkeypatch):
    assert load_settings({}).home == person / ".alphamill"
    monkeypatch.chdir("/")
    assert load_settings({}).home == person / ".alphamill"


def test_a_project_may_have_a_home_of_its_own(person):
    (person / "project" / ".alphamill").mkdir()
    (person / "project" / "notebooks" / ".alphamill").write_text("no folder")
    assert load_settings({}).home == person / "project" / ".alphamill"
    assert load_settings({"ALPHAMILL_HOME": "here"}).home == Path("here")


def test_the_home_of_another_user_is_passed_by(person, monkeypatch):
    (person / "project" / ".alphamill").mkdir()
    monkeypatch.setattr("os.getuid", lambda: 12345)
    assert load_settings({}).home == person / ".alphamill"


def test_a_user_without_a_home_has_one_where_they_stand(person, monkeypatch):
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    assert load_settings({}).home == Path(".alphamill")


def test_environment_wins_over_the_file(tmp_path):
    config = tmp_path / "a.toml"
    config.write_text('lake = "/from/file"\n[binance]\nspot_url = "http://file"\n')
    environ = {"ALPHAMILL_CONFIG": str(config), "ALPHAMILL_BINANCE_URL": "http://variable"}
    settings = load_settings(environ)
    assert settings.lake == "/from/file"
    assert settings.binance.spot_url == "http://variable"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[binance]\nrequests_per_minute = 0\n", "binance.requests_per_minute"),
        ("[budget]\nrun_usd = 0\n", "budget.run_usd"),
        ("[segments]\ndiscovery_frac = 0.7\nvalidation_frac = 0.3\n", "segments"),
        ("[gates]\nfdr = 1.0\n", "gates.fdr"),
        ("[gates]\nholdout = 1.0\n", "gates.holdout"),
        ("[llm.tiers.quick_scam]\nmodel = 'x'\n", "llm.tiers.quick_scam"),
        ("colour = 'red'\n", "colour"),
        ("this is not toml", "ALPHAMILL_CONFIG"),
    ],
)
def test_a_bad_file_names_the_key_and_the_cure(tmp_path, text, names):
    config = tmp_path / "a.toml"
    config.write_text(text)
    with pytest.raises(Misconfigured) as caught:
        load_settings({"ALPHAMILL_CONFIG": str(config)})
    assert caught.value.setting.startswith(names)
    assert caught.value.cure


def test_a_value_where_a_table_belongs_is_named(tmp_path):
    config = tmp_path / "a.toml"
    config.write_text("llm = 3")
    environ = {"ALPHAMILL_CONFIG": str(config), "ALPHAMILL_LLM_URL": "http://x/v1"}
    with pytest.raises(Misconfigured, match="llm: is not a table"):
        load_settings(environ)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(Misconfigured, match="ALPHAMILL_CONFIG: cannot read"):
        load_settings({"ALPHAMILL_CONFIG": str(tmp_path / "absent.toml")})


def test_the_embedded_server_of_the_home_is_found(tmp_path):
    (tmp_path / "redis.url").write_text("redis://:pw@127.0.0.1:1234/0")
    assert load_settings({"ALPHAMILL_HOME": str(tmp_path)}).redis_url.endswith(":1234/0")


def test_the_key_is_not_shown(tmp_path):
    settings = load_settings({"ALPHAMILL_HOME": str(tmp_path), "ALPHAMILL_LLM_API_KEY": "sk-abc"})
    assert "sk-abc" not in repr(settings)
    assert settings.llm.api_key.get_secret_value() == "sk-abc"


def test_the_example_file_states_the_defaults(request):
    example = request.config.rootpath / "alphamill.example.toml"
    environ = {"ALPHAMILL_CONFIG": str(example)}
    assert load_settings(environ) == load_settings({})


def test_the_key_may_stand_in_a_file_and_the_variable_wins(tmp_path):
    file = tmp_path / "key"
    file.write_text("sk-from-the-file\n")
    environ = {"ALPHAMILL_LLM_API_KEY_FILE": str(file)}
    assert load_settings(environ).llm.api_key.get_secret_value() == "sk-from-the-file"
    environ["ALPHAMILL_LLM_API_KEY"] = "sk-variable"
    assert load_settings(environ).llm.api_key.get_secret_value() == "sk-variable"


def test_files_that_an_editor_has_marked_are_read(tmp_path):
    key, config = tmp_path / "key", tmp_path / "alphamill.toml"
    key.write_text("\ufeffsk-from-the-file\r\n", encoding="utf-8")
    config.write_text("\ufeff[binance]\r\nrequests_per_minute = 7\r\n", encoding="utf-8")
    environ = {"ALPHAMILL_LLM_API_KEY_FILE": str(key), "ALPHAMILL_CONFIG": str(config)}
    settings = load_settings(environ)
    assert settings.llm.api_key.get_secret_value() == "sk-from-the-file"
    assert settings.binance.requests_per_minute == 7


@pytest.mark.parametrize("content", [None, "", "  \n"])
def test_a_key_file_without_a_key_is_named(tmp_path, content):
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
    with pytest.raises(Misconfigured, match="ALPHAMILL_LLM_API_KEY_FILE"):
        load_settings({"ALPHAMILL_LLM_API_KEY_FILE": str(file)})


@pytest.mark.parametrize("key", ["sk-with space", "sk-ünï", "sk-\x07bell", "two\nlines"])
def test_a_key_that_cannot_be_one_is_refused_and_not_repeated(key):
    with pytest.raises(Misconfigured) as caught:
        load_settings({"ALPHAMILL_LLM_API_KEY": key})
    assert caught.value.setting == "ALPHAMILL_LLM_API_KEY"
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    ("exchange", "archive", "used"),
    [
        ("https://api.binance.com", "https://data.binance.vision", True),
        ("https://api3.binance.com/", "https://data.binance.vision/", True),
        ("https://fapi.binance.com", "https://data.binance.vision", True),
        ("https://data-api.binance.vision", "https://data.binance.vision", True),
        ("http://127.0.0.1:8001", "https://data.binance.vision", False),
        ("https://testnet.binance.vision", "https://data.binance.vision/", False),
        ("https://api.binance.com.example.org", "https://data.binance.vision", False),
        ("http://127.0.0.1:8001", "http://127.0.0.1:8001", True),
        ("https://api.binance.com", "", False),
    ],
)
def test_an_archive_is_used_only_with_its_own_exchange(exchange, archive, used):
    binance = BinanceSettings(archive_url=archive)
    assert binance.archive_for(exchange) == (archive if used else "")
    assert BinanceSettings(archive_url=archive, archive=False).archive_for(exchange) == ""


KEYS = [
    f"ALPHAMILL_LLM_{middle}API_KEY{end}"
    for middle in ("", *(f"{tier.value.upper()}_" for tier in Tier))
    for end in ("", "_FILE")
]


def test_binances_streams_go_with_binances_api_alone():
    real = BinanceSettings()
    assert real.streams_for(Market.USD_M) == "wss://fstream.binance.com"
    local = BinanceSettings(
        spot_url="http://127.0.0.1:8001", um_stream_url="ws://127.0.0.1:8001/um/"
    )
    assert local.streams_for(Market.SPOT) == "ws://127.0.0.1:8001"
    assert local.streams_for(Market.USD_M) == "ws://127.0.0.1:8001/um"
    assert local.streams_for(Market.COIN_M) == "wss://dstream.binance.com"
    testnet = BinanceSettings(um_url="https://testnet.binancefuture.com")
    assert testnet.streams_for(Market.USD_M) == "wss://testnet.binancefuture.com"


@pytest.mark.parametrize("name", ["ALPHAMILL_CONFIG", *ENVIRONMENT, *KEYS])
def test_an_empty_variable_counts_as_not_set(tmp_path, name):
    config = tmp_path / "a.toml"
    config.write_text('[llm.tiers.quick_scan]\nmodel = "m"\nkey_env = "MY_KEY"\n')
    environ = {"ALPHAMILL_CONFIG": str(config), "MY_KEY": "sk-1"}
    without = {other: value for other, value in environ.items() if other != name}
    assert load_settings({**environ, name: ""}) == load_settings(without)


def test_an_empty_key_that_the_file_names_is_not_set(tmp_path):
    config = tmp_path / "a.toml"
    config.write_text('[llm.tiers.quick_scan]\nmodel = "m"\nkey_env = "MY_KEY"\n')
    llm = load_settings({"ALPHAMILL_CONFIG": str(config), "MY_KEY": ""}).llm
    with pytest.raises(Misconfigured, match="MY_KEY: is not set"):
        llm.key(llm.endpoint(llm.tiers[Tier.QUICK_SCAN]))


def test_empty_variables_of_libraries_are_removed_from_the_process(monkeypatch):
    empty = ("SSL_CERT_FILE", "AWS_PROFILE", "AWS_CA_BUNDLE", "FLOWER_BASIC_AUTH")
    for name in empty:
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("OF_SOMEBODY_ELSE", "")
    load_settings()
    assert not set(empty) & set(os.environ)
    assert (os.environ["AWS_REGION"], os.environ["OF_SOMEBODY_ELSE"]) == ("eu-west-1", "")


def test_the_name_of_a_machines_way_out_may_come_from_its_environment():
    assert load_settings({"ALPHAMILL_BINANCE_EGRESS": "box2"}).binance.egress == "box2"
