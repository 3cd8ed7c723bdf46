"""A listener's certificate follows its files; what can't be used changes nothing."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from holdfast.errors import ConfigurationError
from holdfast.service.process.metrics import Metrics
from holdfast.service.trust import certificates
from holdfast.service.trust.rotation import Rotation
from holdfast.service.trust.tls_files import TlsFiles
from tests.servers.authority import DAY, Authority, Issued

Begin = Callable[[Path], Rotation]


@pytest.fixture(scope="module")
def authority() -> Authority:
    """An issuer."""
    return Authority()


@pytest.fixture
def now() -> list[float]:
    """The time, which a test may change."""
    return [time.time()]


@pytest.fixture
def begin(now: list[float]) -> Begin:
    """Begins with the files of a folder."""

    def begin(folder: Path) -> Rotation:
        files = TlsFiles(str(folder / "tls.crt"), str(folder / "tls.key"), str(folder / "ca.crt"))
        return Rotation("tls://127.0.0.1:1", files, lambda: now[0])

    return begin


def fill(folder: Path, issued: Issued, authority: Authority) -> None:
    """Puts a certificate, its key and an issuer into a folder."""
    folder.mkdir(exist_ok=True)
    issued.write(folder)
    authority.write(folder)


def settle(rotation: Rotation) -> None:
    """Looks at files until they count as written: once when they have changed, and once more."""
    rotation.look()
    rotation.look()


def test_files_that_stay_are_not_loaded_again(
    begin: Begin, authority: Authority, tmp_path: Path
) -> None:
    """As long as no file changes, the certificate and its context stay the same."""
    fill(tmp_path, authority.server(), authority)
    rotation = begin(tmp_path)
    before = rotation.current
    settle(rotation)
    assert rotation.current is before
    assert rotation.contexts.current is before.context


def test_a_new_certificate(
    begin: Begin, authority: Authority, tmp_path: Path, now: list[float]
) -> None:
    """New files are used once they have stayed the same for one look."""
    fill(tmp_path, authority.server(ends=3600.0), authority)
    rotation = begin(tmp_path)
    before, now[0] = rotation.current, now[0] + 60
    fill(tmp_path, authority.server(ends=7200.0), authority)
    rotation.look()
    assert rotation.current is before
    with capture_logs() as logs:
        rotation.look()
    assert rotation.current.not_after == pytest.approx(before.not_after + 3600, abs=60)
    assert rotation.contexts.current is rotation.current.context
    assert rotation.loaded == now[0]
    assert rotation.failures == 0
    assert [line["event"] for line in logs] == ["certificate reloaded"]


@pytest.mark.parametrize("name", ["tls.crt", "tls.key", "ca.crt"])
def test_files_that_change_one_by_one(
    begin: Begin, authority: Authority, tmp_path: Path, name: str
) -> None:
    """While files are being replaced, none is loaded, whichever is written last."""
    fill(tmp_path, authority.server(), authority)
    rotation = begin(tmp_path)
    before = rotation.current
    fill(tmp_path / "next", authority.server(), Authority("next"))
    names = ["tls.crt", "tls.key", "ca.crt"]
    for one in [*(other for other in names if other != name), name]:
        (tmp_path / "next" / one).replace(tmp_path / one)
        rotation.look()
    assert rotation.current is before
    rotation.look()
    assert rotation.current is not before
    assert rotation.failures == 0


def test_a_volume_of_kubernetes(begin: Begin, authority: Authority, tmp_path: Path) -> None:
    """Files behind links are new as soon as a link on the way leads to another folder."""
    fill(tmp_path / "first", authority.server(), authority)
    fill(tmp_path / "second", authority.server(), authority)
    (tmp_path / "..data").symlink_to("first")
    volume = tmp_path / "volume"
    volume.mkdir()
    for name in ("tls.crt", "tls.key", "ca.crt"):
        (volume / name).symlink_to(f"../..data/{name}")
    rotation = begin(volume)
    (tmp_path / "..next").symlink_to("second")
    (tmp_path / "..next").replace(tmp_path / "..data")
    settle(rotation)
    assert rotation.current.chain == (tmp_path / "second" / "tls.crt").read_bytes()


def test_files_that_cannot_be_used(begin: Begin, authority: Authority, tmp_path: Path) -> None:
    """The last good certificate stays until all files fit; each reason is logged once."""
    fill(tmp_path, authority.server(), authority)
    rotation = begin(tmp_path)
    before, renewed = rotation.current, authority.server()
    with capture_logs() as logs:
        renewed.write(tmp_path, "next")
        (tmp_path / "next.crt").replace(tmp_path / "tls.crt")
        settle(rotation)
        settle(rotation)  # the key is still the old one
        (tmp_path / "tls.key").unlink()
        settle(rotation)
    assert rotation.current is before
    assert rotation.contexts.current is before.context
    assert rotation.failures == 4
    assert [line["event"] for line in logs] == 2 * [
        "certificate not reloaded; the last one stays in use"
    ]
    assert "tls.key isn't the key" in logs[0]["reason"]
    assert "tls.key can't be read" in logs[1]["reason"]
    (tmp_path / "next.key").replace(tmp_path / "tls.key")
    settle(rotation)
    assert rotation.current.chain == renewed.cert


def test_issuers_that_were_emptied(begin: Begin, authority: Authority, tmp_path: Path) -> None:
    """Clients must go on showing a certificate if the file of their issuers is emptied."""
    fill(tmp_path, authority.server(), authority)
    rotation = begin(tmp_path)
    (tmp_path / "ca.crt").write_bytes(b"")
    settle(rotation)
    assert rotation.contexts.current.verify_mode is ssl.CERT_REQUIRED
    assert rotation.failures == 1
    authority.write(tmp_path)
    settle(rotation)
    assert rotation.contexts.current.verify_mode is ssl.CERT_REQUIRED
    assert rotation.failures == 1


@pytest.mark.parametrize("damaged", [True, False])
def test_watching_goes_on_whatever_a_file_has(
    begin: Begin,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    damaged: bool,
) -> None:
    """After a certificate that can't be parsed, and after any other error, the next one is used."""
    fill(tmp_path, authority.server(), authority)
    rotation = begin(tmp_path)
    with monkeypatch.context() as patch:
        if not damaged:
            patch.setattr(certificates, "load", lambda *_: 1 / 0)
        authority.damaged().write(tmp_path)
        settle(rotation)
    assert rotation.failures == 1
    good = authority.server()
    good.write(tmp_path)
    settle(rotation)
    assert rotation.current.chain == good.cert


def test_old_files_come_back(begin: Begin, authority: Authority, tmp_path: Path) -> None:
    """If what couldn't be used is undone, nothing is loaded and nothing fails any more."""
    fill(tmp_path, authority.server(), authority)
    rotation = begin(tmp_path)
    before = rotation.current
    (tmp_path / "tls.key").rename(tmp_path / "away")
    settle(rotation)
    (tmp_path / "away").rename(tmp_path / "tls.key")
    settle(rotation)
    assert rotation.current is before
    assert rotation.failures == 1


def test_a_certificate_before_its_time(
    begin: Begin, authority: Authority, tmp_path: Path, now: list[float]
) -> None:
    """A certificate that isn't valid yet is used as soon as it is."""
    fill(tmp_path, authority.server(), authority)
    rotation = begin(tmp_path)
    early = authority.server(begins=600.0)
    early.write(tmp_path)
    settle(rotation)
    assert rotation.current.chain != early.cert
    now[0] += 601
    rotation.look()
    assert rotation.current.chain == early.cert


def test_files_that_cannot_be_used_at_start(
    begin: Begin, authority: Authority, tmp_path: Path
) -> None:
    """Without a last good certificate, the listener is refused by its name."""
    fill(tmp_path, authority.server(ends=-60.0), authority)
    with pytest.raises(ConfigurationError, match=r"listener tls://127.0.0.1:1: .* expired at"):
        begin(tmp_path)


def test_an_exposed_key(begin: Begin, authority: Authority, tmp_path: Path) -> None:
    """A key that everybody may read is used, and reported at start."""
    fill(tmp_path, authority.server(), authority)
    (tmp_path / "tls.key").chmod(0o644)
    with capture_logs() as logs:
        begin(tmp_path)
    assert [(line["event"], line["file"]) for line in logs] == [
        ("certificate key readable by everyone", str(tmp_path / "tls.key"))
    ]


def test_what_metrics_show(
    begin: Begin, authority: Authority, tmp_path: Path, now: list[float]
) -> None:
    """Metrics show from when to when a certificate is valid, when it was loaded, and failures."""
    issued = authority.server(begins=-3 * DAY, ends=5 * DAY)
    fill(tmp_path, issued, authority)
    rotation, metrics = begin(tmp_path), Metrics()
    metrics.certificate(rotation)
    os.truncate(tmp_path / "tls.crt", 10)
    settle(rotation)
    figures = {
        name: metrics.registry.get_sample_value(
            f"holdfast_certificate_{name}", {"listener": "tls://127.0.0.1:1"}
        )
        for name in (
            "start_timestamp_seconds",
            "expiry_timestamp_seconds",
            "loaded_timestamp_seconds",
            "reload_failures_total",
        )
    }
    parsed = issued.parsed()
    assert list(figures.values()) == [
        parsed.not_valid_before_utc.timestamp(),
        parsed.not_valid_after_utc.timestamp(),
        now[0],
        1.0,
    ]
