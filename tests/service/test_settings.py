"""Settings: from the environment, from options, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from holdfast.cli.app import app
from holdfast.environment import CLIENT
from holdfast.errors import ConfigurationError
from holdfast.service.settings import EMBEDDED_LISTEN, Settings, default_data_dir, load

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


def test_a_list_in_one_option_is_several() -> None:
    """An option takes several URLs as its variable does, and may be repeated as well."""
    urls = [f"unix:///{name}.sock?tenant={name}" for name in "abc"]
    for given in ([" ".join(urls)], [",".join(urls)], [f"{urls[0]}, {urls[1]}", urls[2]], urls):
        assert load(listen=given).listen == urls


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("HOLDFAST_S3_BUCKETS", "did you mean HOLDFAST_S3_BUCKET?"),
        ("HOLDFAST_FROBNICATE", "HOLDFAST_FROBNICATE is no setting; unset it"),
    ],
)
def test_a_misspelt_variable_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, told: str
) -> None:
    """A name under our prefix that is no setting is refused, with the nearest that is one."""
    monkeypatch.setenv(name, "x")
    with pytest.raises(ConfigurationError, match=re.escape(told)):
        load()


def test_variables_of_others_stop_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's variables, and those of Kubernetes for a Service holdfast, are no error."""
    for name in (*CLIENT, "HOLDFAST_SERVICE_HOST", "HOLDFAST_PORT_9000_TCP_ADDR"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("HOLDFAST_PORT", "tcp://10.0.0.1:9000")
    assert load().embedded


def test_a_misspelt_secret_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A credential under our prefix that is no setting is refused; those of AWS are known."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "holdfast_aws_credentials").touch()
    (tmp_path / "other").touch()
    assert load().embedded
    (tmp_path / "holdfast_redis_ulr").touch()
    with pytest.raises(ConfigurationError, match=r"holdfast_redis_ulr .* mean HOLDFAST_REDIS_URL"):
        load()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("part_size", "lots", "'lots' isn't a size; give bytes, as 8MiB"),
        ("buffer_budget", "8 Mops", "'8 Mops' isn't a size; give bytes, as 8MiB"),
        ("lease_ttl", "30s", "'30s' isn't a time; give seconds, as 30"),
        ("threads", "many", "'many' isn't a whole number"),
    ],
)
def test_what_cannot_be_read_is_named_as_it_was_given(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    """A size or time that can't be read is told with the option or the variable that had it."""
    with pytest.raises(ConfigurationError, match=re.escape(f"--{name.replace('_', '-')} {told}")):
        load(**{name: value})
    monkeypatch.setenv(f"HOLDFAST_{name.upper()}", value)
    with pytest.raises(ConfigurationError, match=re.escape(f"HOLDFAST_{name.upper()} {told}")):
        load()


@pytest.mark.parametrize("arguments", [["--part-size", "lots"], ["--listen", "nonsense"]])
@pytest.mark.parametrize("command", [["serve"], ["doctor"], ["gc"], ["tenants", "list"]])
def test_a_wrong_option_is_wrong_usage(command: list[str], arguments: list[str]) -> None:
    """A setting that can't be used exits with 2 as an option, and with 1 as a variable."""
    assert CliRunner().invoke(app, [*command, *arguments]).exit_code == 2
    name = f"HOLDFAST_{arguments[0].strip('-').replace('-', '_').upper()}"
    assert CliRunner().invoke(app, command, env={name: arguments[1]}).exit_code == 1


@pytest.mark.parametrize("command", ["serve", "doctor", "gc"])
def test_help_shows_kinds_and_defaults(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The help of each setting's option has what may be given, and what counts otherwise."""
    # Typer reads TERMINAL_WIDTH once only, which may have been in another test.
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 400)
    shown = CliRunner().invoke(app, [command, "--help"]).stdout
    row = next(line for line in shown.splitlines() if "--part-size" in line)
    assert "SIZE" in row
    assert "(bytes, as 8MiB; default 8MiB) [HOLDFAST_PART_SIZE]" in row
    row = next(line for line in shown.splitlines() if "--lease-ttl" in line)
    assert "SECONDS" in row
    assert "(seconds, ≥ 3, ≤ 600; default 15) [HOLDFAST_LEASE_TTL]" in row
    row = next(line for line in shown.splitlines() if "--sharing" in line)
    assert "shared|isolated" in row
    rows = [line for line in shown.splitlines() if "[HOLDFAST_" in line]
    assert len(rows) == len(Settings.model_fields)
    assert [row for row in rows if "default " not in row] == []


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
        ({"part_size": "5MiB"}, ["--part-size", "multiple of 4 MiB"]),
        ({"part_size": "4MiB"}, ["--part-size", "at least 8 MiB"]),
        ({"part_size": "lots"}, ["--part-size"]),
        ({"buffer_budget": "31MiB"}, ["buffer_budget", "four parts"]),
        ({"disk_cache_budget": "63MiB"}, ["disk_cache_budget", "sixteen blocks"]),
        ({"threads": 1}, ["--threads"]),
        ({"uploads": 0}, ["--uploads"]),
        ({"sharing": "public"}, ["--sharing", "shared"]),
        ({"lease_ttl": 1}, ["--lease-ttl"]),
        ({"ingest_lifetime": 60}, ["--ingest-lifetime"]),
        ({"threads": 0, "uploads": 0}, ["--threads", "--uploads"]),
        ({"s3_endpoint": "http://127.0.0.1:1"}, ["s3_endpoint", "s3_bucket"]),
        ({"s3_bucket": "b"}, ["HOLDFAST_REDIS_URL", "share a Redis"]),
        ({"listen": "tcp://0.0.0.0:1?tenant=a"}, ["insecure=1"]),
        ({"listen": "nonsense"}, ["unknown scheme"]),
        ({"log_level": "loud"}, ["--log-level"]),
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
