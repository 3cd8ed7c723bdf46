"""The keys of issuers: what is read, and what is refused."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from structlog.testing import capture_logs

from holdfast.errors import ConfigurationError, InvalidArgument, Unavailable
from holdfast.service.trust.key_sources import LARGEST, contents
from holdfast.service.trust.keys import IssuerKeys, parsed, verified_by
from holdfast.service.trust.token_issuers import ALGORITHMS, TokenIssuer
from tests.servers.certificate import self_signed
from tests.service.fleet import DEADLINE
from tests.trust.issuing import Clock, Signer, issuer, jwks, keys_in, rsa_key

ES256 = frozenset({"ES256"})


def test_a_pem_file_may_have_several_keys() -> None:
    """Each key in a PEM file may have signed any token, since it has no name."""
    found = list(parsed(Signer().pem + b"\n" + Signer().pem, ES256))
    assert [(key.kid, key.algorithms) for key in found] == [("", ES256), ("", ES256)]


def test_a_pem_file_may_have_certificates(tmp_path: Path) -> None:
    """A certificate has a key, too."""
    self_signed(tmp_path)
    [key] = parsed((tmp_path / "ca.crt").read_bytes(), ES256)
    assert key.algorithms == ES256


def test_a_jwks_names_its_keys(tmp_path: Path) -> None:
    """A token that names a key is verified with no other."""
    keys = keys_in(tmp_path / "jwks", jwks(Signer("a"), Signer("b")), Clock())
    assert [key.kid for key in keys.current.candidates("b", "ES256")] == ["b"]
    assert len(keys.current.candidates(None, "ES256")) == 2
    assert keys.current.candidates("b", "RS256") == []
    assert keys.current.candidates("c", "ES256") == []


@pytest.mark.parametrize(
    "entry",
    [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "x"},
        {"kty": "AKP", "kid": "x"},
        {"kty": "EC", "crv": "P-999", "x": "", "y": "", "kid": "x"},
        {**Signer().jwk, "use": "enc"},
        {**Signer().jwk, "alg": "ES512"},
        {**RSAAlgorithm.to_jwk(rsa_key(1024).public_key(), as_dict=True)},
    ],
)
def test_keys_that_are_of_no_use_are_left_out(entry: dict[str, Any]) -> None:
    """Keys of unknown kinds, for encryption, shared or weak ones are left out, the others used."""
    signer = Signer()
    text = json.dumps({"keys": [entry, signer.jwk]}).encode()
    assert [key.kid for key in parsed(text, ALGORITHMS)] == [signer.kid]


PRIVATE = ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "can't be read"),
        (b"{}", "can't be read"),
        (b"[]", "can't be read"),
        (b'{"keys": 1}', "can't be read"),
        (b'{"keys": [1]}', "can't be read"),
        (b'{"keys": []}', "none of 0 keys"),
        (b"\xff", "can't be read"),
        (b"-----BEGIN PUBLIC KEY-----\nAA\n-----END PUBLIC KEY-----\n", "can't be read"),
        (
            PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            "private key",
        ),
        (
            json.dumps({"keys": [ECAlgorithm.to_jwk(PRIVATE, as_dict=True)]}).encode(),
            "private one",
        ),
        (json.dumps({"keys": [Signer().jwk] * 257}).encode(), "257 keys"),
    ],
)
def test_what_has_no_usable_key_is_refused(text: bytes, said: str) -> None:
    """A file that is damaged, has private keys, none or too many, is refused."""
    with pytest.raises(ConfigurationError, match=said):
        list(parsed(text, ES256))


def test_keys_of_another_kind_than_allowed_are_refused() -> None:
    """If no key verifies an algorithm that is allowed, that is said at once."""
    with pytest.raises(ConfigurationError, match="none of 1 keys verifies RS256"):
        list(parsed(Signer().pem, frozenset({"RS256"})))


@pytest.mark.parametrize(
    ("key", "algorithms"),
    [
        (ec.generate_private_key(ec.SECP384R1()).public_key(), {"ES384"}),
        (ec.generate_private_key(ec.SECP256K1()).public_key(), set()),
        (ed25519.Ed25519PrivateKey.generate().public_key(), {"EdDSA"}),
        (rsa_key(1024).public_key(), set()),
        ("a password", set()),
    ],
)
def test_a_key_verifies_what_its_kind_does(key: object, algorithms: set[str]) -> None:
    """The kind, the curve and the size of a key decide which algorithms it verifies."""
    assert verified_by(key) == algorithms
    assert algorithms <= ALGORITHMS


async def test_keys_that_cannot_be_read_replace_nothing(tmp_path: Path) -> None:
    """While a file is damaged, the last good keys stay, and that is logged once."""
    path, signer = tmp_path / "jwks", Signer()
    keys = keys_in(path, jwks(signer), Clock())
    path.write_bytes(b"{")
    with capture_logs() as logs:
        await keys.refresh()
        await keys.refresh()
        path.write_bytes(jwks(signer, Signer("k2")))
        await keys.refresh()
    assert [entry["event"] for entry in logs] == [
        "token keys not read; the last good ones stay in force",
        "token keys read again",
    ]
    assert len(keys) == 2


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    """No more is read of a file than its bound."""
    path = tmp_path / "jwks"
    path.write_bytes(bytes(LARGEST + 1))
    with pytest.raises(ConfigurationError, match=f"more than {LARGEST} bytes"):
        contents(issuer(str(path)))


class _Answers(BaseHTTPRequestHandler):
    """Answers with what its path says."""

    asked: list[str | None]

    def do_GET(self) -> None:
        self.asked.append(self.headers["Authorization"])
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/jwks")
            self.end_headers()
            return
        self.send_response(404 if self.path == "/missing" else 200)
        self.end_headers()
        self.wfile.write(bytes(LARGEST + 1) if self.path == "/large" else jwks(Signer()))

    def log_message(self, *_: object) -> None:
        """Prints nothing."""


@contextmanager
def answering(tls: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[str | None]]]:
    """A server of keys; yields its address, and the tokens that it was shown."""
    handler = type("Answers", (_Answers,), {"asked": []})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            scheme = "https" if tls else "http"
            yield f"{scheme}://127.0.0.1:{server.server_port}", handler.asked  # type: ignore[attr-defined]
        finally:
            server.shutdown()
            thread.join()


def test_keys_come_from_a_url_with_its_authorities(tmp_path: Path) -> None:
    """Keys are fetched over TLS, with the token that the server asks for."""
    (tmp_path / "token").write_text("secret\n")
    with answering(self_signed(tmp_path)) as (url, asked):
        known = issuer(f"{url}/jwks", ca=str(tmp_path / "ca.crt"), bearer=str(tmp_path / "token"))
        keys = IssuerKeys(known, Clock())
        keys.load()
    assert len(keys) == 1
    assert asked == ["Bearer secret"]


def test_a_server_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    """Keys of a server whose certificate no authority has issued aren't accepted."""
    with answering(self_signed(tmp_path)) as (url, asked):
        with pytest.raises(Unavailable, match="certificate verify failed"):
            contents(issuer(f"{url}/jwks"))
        assert asked == []


@pytest.mark.parametrize(
    ("path", "said"), [("/moved", "302"), ("/missing", "404"), ("/large", "more than")]
)
def test_other_answers_than_keys_are_refused(path: str, said: str) -> None:
    """A redirect isn't followed, and an error or an endless answer is no key."""
    with answering() as (url, _), pytest.raises(Unavailable, match=said):
        contents(issuer(url + path))


@pytest.mark.parametrize("begins", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"])
def test_a_url_that_trickles_is_given_up(begins: bytes) -> None:
    """A server that sends a byte at a time has no longer to answer than any other."""

    def trickle(listening: socket.socket) -> None:
        connected, _ = listening.accept()
        with connected, suppress(OSError):
            connected.sendall(begins)
            while not ended.wait(0.01):
                connected.sendall(b" ")

    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=trickle, args=(listening,))
        thread.start()
        keys = issuer(f"http://127.0.0.1:{listening.getsockname()[1]}/jwks")
        asking = threading.Timer(DEADLINE, ended.set)  # ends the test if nothing else does
        asking.start()
        try:
            with pytest.raises(Unavailable, match="hasn't answered within"):
                contents(keys, patience=0.2)
            assert not ended.is_set()
        finally:
            asking.cancel()
            ended.set()
            thread.join()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"issuer": ""}, "issuer is missing"),
        ({"audience": ""}, "audience is missing"),
        ({"keys": ""}, "keys is missing"),
        ({"keys": "relative"}, "absolute path"),
        ({"keys": "http://issuer.example/jwks"}, "only https"),
        ({"keys": "ftp://issuer.example/jwks"}, "only https"),
        ({"keys": "https://[::1/jwks"}, "host of the URL"),
        ({"keys": "https://user:secret@issuer.example/"}, "bearer"),
        ({"keys": "https://[issuer.example/"}, "host of the URL can't be read"),
        ({"keys": "https://[[issuer]]:secret@/"}, "host of the URL can't be read"),
        ({"keys": "/keys", "ca": "/ca"}, "for keys that are fetched"),
        ({"algorithms": frozenset()}, "none can't be used"),
        ({"algorithms": frozenset({"HS256"})}, "HS256"),
        ({"algorithms": frozenset({"none"})}, "none"),
        ({"algorithms": frozenset({"ES256", "es256"})}, "es256"),
    ],
)
def test_an_unsafe_issuer_is_refused(given: dict[str, Any], said: str) -> None:
    """An issuer without an audience, with weak algorithms, or with keys in the clear is refused."""
    fields = {"issuer": "i", "audience": "a", "keys": "/keys", **given}
    with pytest.raises(InvalidArgument, match=said) as caught:
        TokenIssuer("test", **fields).check()
    assert "secret" not in str(caught.value)


def test_a_public_key_has_no_name_in_pem() -> None:
    """A key in PEM is one of those that may have signed a token that names another."""
    text = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    [key] = parsed(text, ES256)
    assert key.kid == ""
