"""Bearer tokens: which are accepted, and what becomes of all others."""

from __future__ import annotations

import base64
import hmac
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from structlog.testing import capture_logs

from holdfast.errors import PermissionDenied, Unavailable
from holdfast.service.trust.bearer import LONGEST, bearer
from holdfast.service.trust.keys import PAUSE, IssuerKeys
from holdfast.service.trust.token_issuers import TokenIssuer
from holdfast.service.trust.tokens import LEEWAY, REMEMBERED, Tokens
from tests.trust.issuing import AUDIENCE, ISSUER, NOW, Clock, Signer, issuer, jwks, keys_in, rsa_key


@pytest.fixture
def clock() -> Clock:
    """The time of tokens and of keys."""
    return Clock()


@pytest.fixture
def signer() -> Signer:
    """The issuer's key."""
    return Signer()


@pytest.fixture
def tokens(tmp_path: Path, signer: Signer, clock: Clock) -> Tokens:
    """Tokens of one issuer, whose keys are in a file."""
    return Tokens([keys_in(tmp_path / "jwks", jwks(signer), clock)], clock)


async def refused(tokens: Tokens, token: str, text: str) -> None:
    """A token must be refused, and its own text must not be quoted."""
    with pytest.raises(PermissionDenied, match=text) as caught:
        await tokens.verify(token)
    assert token not in str(caught.value)
    assert tokens.recall(token) is None


async def test_a_good_token_says_who_asks(tokens: Tokens, signer: Signer) -> None:
    """A token that a known key has signed, for us and now, has its claims."""
    found = await tokens.verify(signer.token(node={"name": "a"}))
    assert (found.issuer, found.claims["node"], found.until) == ("test", {"name": "a"}, NOW + 600)


async def test_a_token_for_several_is_for_us_too(tokens: Tokens, signer: Signer) -> None:
    """A token may name other audiences beside ours."""
    assert await tokens.verify(signer.token(aud=["other", AUDIENCE]))


@pytest.mark.parametrize(
    ("claims", "text"),
    [
        ({"aud": "another"}, "audience"),
        ({"aud": None}, "MissingRequiredClaim"),
        ({"aud": [AUDIENCE.upper()]}, "audience"),
        ({"iss": "https://evil.example"}, "evil.example.* is unknown"),
        ({"iss": f"{ISSUER}/"}, "is unknown"),
        ({"iss": None}, "is unknown"),
        ({"exp": NOW - LEEWAY}, "ended 60 s ago"),
        ({"exp": None}, "MissingRequiredClaim"),
        ({"exp": "never"}, "`exp` isn't a time"),
        ({"exp": True}, "`exp` isn't a time"),
        ({"exp": float("inf")}, "`exp` isn't a time"),
        ({"exp": 10**400}, "`exp` isn't a time"),
        ({"nbf": NOW + LEEWAY + 1}, "valid in 61 s"),
        ({"iat": NOW + LEEWAY + 1}, "valid in 61 s"),
        ({"nbf": [1]}, "`nbf` isn't a time"),
    ],
)
async def test_a_token_that_is_not_for_us_now_is_refused(
    tokens: Tokens, signer: Signer, claims: dict[str, Any], text: str
) -> None:
    """A token of another issuer or audience, or of another time, is refused with what is wrong."""
    await refused(tokens, signer.token(**claims), text)


@pytest.mark.parametrize("claims", [{"exp": NOW - LEEWAY + 1}, {"nbf": NOW + LEEWAY - 1}])
async def test_clocks_may_differ_a_little(
    tokens: Tokens, signer: Signer, claims: dict[str, Any]
) -> None:
    """Times are compared with a leeway, because the issuer's clock isn't ours."""
    assert await tokens.verify(signer.token(**claims))


async def test_a_token_of_another_key_is_refused(tokens: Tokens, signer: Signer) -> None:
    """A token that another key has signed under the name of a known one is refused."""
    await refused(tokens, Signer(signer.kid).token(), "no key of issuer 'test' has signed")


@pytest.mark.parametrize("iss", [[ISSUER], {"a": 1}, 1, None, True])
async def test_an_issuer_that_is_no_text_is_unknown(tokens: Tokens, iss: object) -> None:
    """A token whose issuer isn't a text is refused."""
    with pytest.raises(PermissionDenied, match="unknown here"):
        await tokens.verify(unsigned({"alg": "ES256"}, {"iss": iss}, b""))


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", ""])
async def test_a_token_without_a_signature_is_refused(tokens: Tokens, algorithm: str) -> None:
    """A token whose algorithm is `none`, however it is written, is refused."""
    forged = unsigned({"alg": algorithm}, {"iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 60}, b"")
    await refused(tokens, forged, "signed with")


@pytest.mark.parametrize("algorithm", ["HS256", "HS512"])
async def test_a_public_key_is_no_password(tmp_path: Path, clock: Clock, algorithm: str) -> None:
    """A token that is authenticated with the public key as a shared secret is refused."""
    signer = Signer()
    tokens = Tokens([keys_in(tmp_path / "pem", signer.pem, clock)], clock)
    claims = {"iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 60}
    header = {"alg": algorithm, "typ": "JWT"}
    hashes = {"HS256": "sha256", "HS512": "sha512"}
    forged = unsigned(header, claims, b"")
    signature = hmac.digest(signer.pem, forged[:-1].encode(), hashes[algorithm])
    await refused(tokens, forged + encoded(signature), "signed with")


async def test_a_key_verifies_only_its_own_kind(tmp_path: Path, clock: Clock) -> None:
    """A token that claims the algorithm of another kind of key than the named one is refused."""
    signer, other = Signer(), rsa_key()
    tokens = Tokens([keys_in(tmp_path / "jwks", jwks(signer), clock)], clock)
    claims = {"iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 60}
    forged = jwt.encode(claims, other, "RS256", {"kid": signer.kid})
    await refused(tokens, forged, "no key of issuer")


async def test_a_key_that_a_token_brings_along_counts_for_nothing(
    tokens: Tokens, signer: Signer
) -> None:
    """A token can't name its own key, by value or by address."""
    other = Signer(signer.kid)
    claims = {"iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 60}
    header = {"kid": signer.kid, "jwk": other.jwk, "jku": "https://evil.example", "x5u": "a"}
    await refused(tokens, jwt.encode(claims, other.key, "ES256", header), "no key of issuer")


@pytest.mark.parametrize(
    "token",
    ["a", "a.b", "a.b.c", "....", "e30.e30.", "e30.W10.e30", "\udcff.a.b", "e30." + "W1" * 3000],
)
async def test_what_is_no_token_is_refused(tokens: Tokens, token: str) -> None:
    """Bytes that only look like a token, or not even that, are refused."""
    with pytest.raises(PermissionDenied):
        await tokens.verify(token)


async def test_a_deeply_nested_token_is_refused(tokens: Tokens) -> None:
    """A token whose claims are nested too deeply to be read is refused like any other."""
    deep = encoded(b'{"alg":"ES256","kid":' + b"[" * 2000 + b"]" * 2000 + b"}")
    with pytest.raises(PermissionDenied):
        await tokens.verify(f"{deep}.e30.AA")


async def test_a_verified_token_is_remembered_until_it_ends(
    tokens: Tokens, signer: Signer, clock: Clock
) -> None:
    """A token is verified once, and refused from its end on although it is remembered."""
    token = signer.token()
    assert tokens.recall(token) is None
    found = await tokens.verify(token)
    assert tokens.recall(token) is found
    assert await tokens.verify(token) is found
    clock.now = NOW + 600 + LEEWAY
    await refused(tokens, token, "ended")


async def test_few_tokens_are_remembered(tokens: Tokens, signer: Signer) -> None:
    """The tokens used longest ago are forgotten first."""
    first, second = signer.token(jti="first"), signer.token(jti="second")
    await tokens.verify(first)
    await tokens.verify(second)
    for number in range(REMEMBERED - 2):
        tokens._remembered[number.to_bytes(4, "big")] = await tokens.verify(second)
    assert tokens.recall(first) is not None
    await tokens.verify(signer.token(jti="third"))
    assert tokens.recall(first) is not None
    assert len(tokens._remembered) == REMEMBERED


async def test_tokens_of_a_key_that_was_withdrawn_are_refused(
    tmp_path: Path, clock: Clock, signer: Signer
) -> None:
    """When an issuer's keys change, tokens that were verified with a key that has gone end."""
    keys = keys_in(tmp_path / "jwks", jwks(signer), clock)
    tokens, token = Tokens([keys], clock), signer.token()
    await tokens.verify(token)
    (tmp_path / "jwks").write_bytes(jwks(Signer("k2")))
    await keys.refresh()
    await refused(tokens, token, "no key of issuer")


async def test_a_key_that_is_withdrawn_while_it_verifies_is_not_remembered(
    tmp_path: Path, clock: Clock, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If new keys are read while a token is verified, it counts as verified by the old ones."""
    keys = keys_in(tmp_path / "jwks", jwks(signer), clock)
    tokens, token, decode = Tokens([keys], clock), signer.token(), jwt.decode

    def withdrawn(text: str, *given: Any, **options: Any) -> Any:
        if given:
            (tmp_path / "jwks").write_bytes(jwks(Signer("k2")))
            keys.load()
        return decode(text, *given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(jwt, "decode", withdrawn)
        await tokens.verify(token)
    assert tokens.recall(token) is None


@pytest.mark.parametrize("left", [{"keys": []}, {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}])
async def test_an_issuer_may_withdraw_its_last_key(
    tmp_path: Path, clock: Clock, signer: Signer, left: object
) -> None:
    """If an issuer publishes no usable key any more, its tokens end, which is reported once."""
    keys = keys_in(tmp_path / "jwks", jwks(signer), clock)
    tokens, token = Tokens([keys], clock), signer.token()
    await tokens.verify(token)
    (tmp_path / "jwks").write_text(json.dumps(left))
    with capture_logs() as logs:
        await keys.refresh()
        await keys.refresh()
    await refused(tokens, token, "no key of issuer")
    assert not keys.well
    assert [entry["event"] for entry in logs] == [
        "token keys withdrawn; the issuer's tokens are refused"
    ]
    (tmp_path / "jwks").write_bytes(jwks(signer))
    await keys.refresh()
    assert await tokens.verify(token)


async def test_an_unknown_key_has_the_keys_read_again_once(
    tmp_path: Path, clock: Clock, signer: Signer
) -> None:
    """A token of a new key is accepted at once, and strangers' keys cause few readings."""
    keys = keys_in(tmp_path / "jwks", jwks(signer), clock)
    tokens, new = Tokens([keys], clock), Signer("k2")
    (tmp_path / "jwks").write_bytes(jwks(signer, new))
    assert await tokens.verify(new.token())
    (tmp_path / "jwks").write_bytes(jwks(signer, new, third := Signer("k3")))
    await refused(tokens, third.token(), "no key of issuer")
    clock.now += PAUSE
    assert await tokens.verify(third.token())


async def test_keys_that_were_never_read_make_it_unavailable(clock: Clock) -> None:
    """While an issuer's keys can't be fetched, its tokens are neither accepted nor refused."""

    def fails(_: TokenIssuer) -> bytes:
        raise Unavailable("no route")

    keys = IssuerKeys(issuer("https://issuer.example/jwks"), clock, fails)
    for _ in range(2):  # the second one has nothing read again
        with pytest.raises(Unavailable, match="can't be read"):
            await Tokens([keys], clock).verify(Signer().token())


@pytest.mark.parametrize(
    "metadata",
    [
        [("authorization", "Bearer a"), ("authorization", "Bearer a")],
        [("authorization", "Basic a")],
        [("authorization", "Bearer")],
        [("authorization", "Bearer ")],
        [("authorization", b"Bearer a")],
        [("authorization", f"Bearer {'a' * (LONGEST + 1)}")],
    ],
)
def test_one_bearer_token_at_most(metadata: list[tuple[str, str | bytes]]) -> None:
    """A header that is there twice, has something else, or too much, is refused."""
    with pytest.raises(PermissionDenied, match=r"authorization|bearer"):
        bearer(metadata)


@pytest.mark.parametrize(
    ("metadata", "token"),
    [
        ([], None),
        ([("authorization-bin", b"Bearer a")], None),
        ([("x-authorization", "Bearer a")], None),
        ([("authorization", "Bearer a.b")], "a.b"),
        ([("authorization", "bearer  a.b")], "a.b"),
    ],
)
def test_the_token_is_in_one_header(
    metadata: list[tuple[str, str | bytes]], token: str | None
) -> None:
    """Only the header `authorization` has the token; names that resemble it are none."""
    assert bearer(metadata) == token


def encoded(data: bytes) -> str:
    """Base64 as tokens have it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: bytes) -> str:
    """A token with any header and any signature."""
    parts = [encoded(json.dumps(one).encode()) for one in (header, claims)]
    return ".".join([*parts, encoded(signature)])
