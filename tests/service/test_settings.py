"""Settings: from the environment, from options, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.errors import ConfigurationError
from service.settings import EMBEDDED_LISTEN, Settings, default_data_dir, load

SECRET = "hunter2"


def test_defaults_are_embedded() -> None:
    """With no settings a frontend runs on a folder, on loopback."""
    settings = load()
    assert settings.embedded
    assert settings.listen == [EMBEDDED_LISTEN]
    assert settings.data_dir == default_data_dir()


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables set what they are named after; sizes have units, lists have commas or spaces."""
    monkeypatch.setenv("HOLDFAST_PART_SIZE", "16MiB")
    monkeypatch.setenv("HOLDFAST_S3_PATH_STYLE", "true")
    monkeypatch.setenv(
        "HOLDFAST_LISTEN", "unix:///a.sock?tenant=a, unix:///b.sock?tenant=b\nunix:///c?tenant=c"
    )
    settings = load()
    assert settings.part_size == 16 * 2**20
    assert settings.s3_path_style
    assert [url[-1] for url in settings.listen] == ["a", "b", "c"]


def test_options_overrule(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An option that is given overrules its variable; one that isn't changes nothing."""
    monkeypatch.setenv("HOLDFAST_THREADS", "5")
    monkeypatch.setenv("HOLDFAST_UPLOADS", "6")
    settings = load(threads=7, uploads=None, data_dir=tmp_path)
    assert (settings.threads, settings.uploads, settings.data_dir) == (7, 6, tmp_path)


def test_a_secret_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What systemd hands over as a credential counts, and a variable overrules it."""
    (tmp_path / "holdfast_redis_url").write_text(f"redis://:{SECRET}@example.com/0\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert load().redis_url == f"redis://:{SECRET}@example.com/0"
    monkeypatch.setenv("HOLDFAST_REDIS_URL", "redis://other/0")
    assert load().redis_url == "redis://other/0"


def test_data_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The data folder is under the XDG data home, or the usual one."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_data_dir() == tmp_path / "holdfast"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_data_dir() == tmp_path / ".local/share/holdfast"


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        ({"part_size": "5MiB"}, ["HOLDFAST_PART_SIZE", "multiple of 4 MiB"]),
        ({"part_size": "4MiB"}, ["HOLDFAST_PART_SIZE", "at least 8 MiB"]),
        ({"part_size": "lots"}, ["HOLDFAST_PART_SIZE"]),
        ({"buffer_budget": "31MiB"}, ["buffer_budget", "four parts"]),
        ({"disk_cache_budget": "63MiB"}, ["disk_cache_budget", "sixteen blocks"]),
        ({"threads": 1}, ["HOLDFAST_THREADS"]),
        ({"uploads": 0}, ["HOLDFAST_UPLOADS"]),
        ({"sharing": "public"}, ["HOLDFAST_SHARING", "shared"]),
        ({"lease_ttl": 1}, ["HOLDFAST_LEASE_TTL"]),
        ({"ingest_lifetime": 60}, ["HOLDFAST_INGEST_LIFETIME"]),
        ({"threads": 0, "uploads": 0}, ["HOLDFAST_THREADS", "HOLDFAST_UPLOADS"]),
        ({"s3_endpoint": "http://127.0.0.1:1"}, ["s3_endpoint", "s3_bucket"]),
        ({"s3_bucket": "b"}, ["HOLDFAST_REDIS_URL", "share a Redis"]),
        ({"listen": "tcp://0.0.0.0:1?tenant=a"}, ["insecure=1"]),
        ({"listen": "nonsense"}, ["unknown scheme"]),
        ({"log_level": "loud"}, ["HOLDFAST_LOG_LEVEL"]),
    ],
    ids=str,
)
def test_refused(options: dict[str, object], texts: list[str]) -> None:
    """What can't be run is refused, naming the setting and what it must be."""
    with pytest.raises(ConfigurationError) as caught:
        load(**options)
    for text in texts:
        assert text in str(caught.value)


def test_no_secrets() -> None:
    """The password of a Redis URL is in no representation and in no error text."""
    url = f"redis://:{SECRET}@127.0.0.1:6379/0"
    assert SECRET not in repr(load(redis_url=url))
    assert SECRET not in str(load(redis_url=url))
    with pytest.raises(ConfigurationError) as caught:
        load(redis_url=url, threads=0, part_size=SECRET)
    assert f":{SECRET}@" not in str(caught.value)


def test_settings_do_not_change() -> None:
    """Settings are fixed once they are read."""
    with pytest.raises(ValueError, match="frozen"):
        Settings().threads = 9  # type: ignore[misc]
