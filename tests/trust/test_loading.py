"""A listener's certificate is loaded if clients would accept it; else the file is named."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from holdfast.errors import ConfigurationError
from holdfast.service.trust.certificates import LARGEST, load
from holdfast.service.trust.tls_files import TlsFiles
from tests.servers.authority import CLIENT, SERVER, Authority, Issued


@pytest.fixture(scope="module")
def authority() -> Authority:
    """An issuer."""
    return Authority()


def files_of(folder: Path, issued: Issued, ca: bytes = b"") -> TlsFiles:
    """A certificate in a folder, with issuers of clients' certificates if there are any."""
    cert, key = issued.write(folder)
    if ca:
        (folder / "ca.crt").write_bytes(ca)
    return TlsFiles(str(cert), str(key), str(folder / "ca.crt") if ca else "")


def refusal(files: TlsFiles) -> str:
    """Why a certificate isn't loaded."""
    with pytest.raises(ConfigurationError) as caught:
        load(files, time.time())
    return str(caught.value)


@pytest.mark.parametrize("uses", [(), (SERVER,), (SERVER, CLIENT)])
def test_a_certificate_for_servers(
    authority: Authority, tmp_path: Path, uses: tuple[object, ...]
) -> None:
    """A certificate for a server, or for anything, is loaded with its key and when it expires."""
    issued = authority.server(uses=uses, ends=3600.0)
    found = load(files_of(tmp_path, issued, authority.pem), time.time())
    assert found.not_after == pytest.approx(time.time() + 3600, abs=60)
    assert (found.chain, found.key, found.client_ca) == (issued.cert, issued.key, authority.pem)


@pytest.mark.parametrize(("mode", "exposed"), [(0o600, False), (0o640, False), (0o644, True)])
def test_who_may_read_the_key(
    authority: Authority, tmp_path: Path, mode: int, *, exposed: bool
) -> None:
    """A key that everybody on the machine may read is loaded, and reported."""
    files = files_of(tmp_path, authority.server())
    Path(files.key).chmod(mode)
    assert load(files, time.time()).exposed_key is exposed


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"ends": -60.0}, "tls.crt expired at"),
        ({"begins": 60.0}, "tls.crt isn't valid before"),
        ({"uses": (CLIENT,)}, "tls.crt is for clientAuth; expected one for serverAuth"),
        ({"dns": (), "addresses": ()}, "tls.crt has no subject alternative name"),
    ],
)
def test_a_certificate_that_clients_would_refuse(
    authority: Authority, tmp_path: Path, given: dict[str, Any], told: str
) -> None:
    """A certificate that no client would accept is refused, with what is wrong with it."""
    assert told in refusal(files_of(tmp_path, authority.server(**given)))


def test_a_key_of_another_certificate(authority: Authority, tmp_path: Path) -> None:
    """A key that isn't the first certificate's is refused; so is a chain in the wrong order."""
    first, second = authority.server(), authority.server()
    assert "tls.key isn't the key of the first certificate" in refusal(
        files_of(tmp_path, Issued(first.cert, second.key))
    )
    between = Authority("between", authority)
    issued = between.server()
    turned = Issued(between.pem + issued.cert, issued.key)
    assert "expected that certificate first" in refusal(files_of(tmp_path, turned))


def test_an_encrypted_key(authority: Authority, tmp_path: Path) -> None:
    """A key with a passphrase is refused, instead of asking a terminal for it."""
    issued = authority.server()
    key = load_pem_private_key(issued.key, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    assert "tls.key is encrypted" in refusal(files_of(tmp_path, Issued(issued.cert, key)))


@pytest.mark.parametrize("data", [b"", b"nothing", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_what_is_no_certificate(authority: Authority, tmp_path: Path, data: bytes) -> None:
    """A file without a certificate or a key is refused by its name, whichever it is."""
    issued = authority.server()
    assert "tls.crt has no certificate" in refusal(files_of(tmp_path, Issued(data, issued.key)))
    assert "tls.key has no key" in refusal(files_of(tmp_path, Issued(issued.cert, data)))
    files = files_of(tmp_path, issued, authority.pem)
    Path(files.client_ca).write_bytes(data)
    assert "ca.crt has no certificate" in refusal(files)


def test_names_that_cannot_be_read(authority: Authority, tmp_path: Path) -> None:
    """A certificate whose names are damaged is refused by its file, like any other."""
    issued = authority.damaged()
    assert "tls.crt can't be read" in refusal(files_of(tmp_path, issued))


def test_a_file_that_is_not_there(authority: Authority, tmp_path: Path) -> None:
    """A file that isn't there, or is far too large, is refused by its name."""
    files = files_of(tmp_path, authority.server(), authority.pem)
    Path(files.client_ca).write_bytes(bytes(LARGEST + 1))
    assert f"ca.crt has more than {LARGEST} bytes" in refusal(files)
    Path(files.key).unlink()
    assert "tls.key can't be read: " in refusal(files)


def test_expired_issuers(authority: Authority, tmp_path: Path) -> None:
    """Issuers of clients' certificates are refused if none of them is valid any more."""
    expired = authority.issue("old", ends=-60.0, ca=True).cert
    assert "ca.crt expired at" in refusal(files_of(tmp_path, authority.server(), expired))
    load(files_of(tmp_path, authority.server(), expired + authority.pem), time.time())
