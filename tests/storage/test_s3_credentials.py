"""Temporary credentials that end in the middle of something."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.credentials import RefreshableCredentials

from holdfast import deadlines
from holdfast.errors import ConfigurationError, PermissionDenied
from holdfast.storage.port import IfAbsent, ObjectStore, Part
from holdfast.storage.s3_credentials import PAUSE, renewal_of
from tests.storage.credentials import issued_by
from tests.storage.looped import Way
from tests.storage.scripted import Reply, Script, error, scripted

MD5 = "0123456789abcdef0123456789abcdef"
FOUND = {"ETag": f'"{MD5}"', "Last-Modified": "Thu, 26 Nov 2026 04:00:00 GMT"}
COMPLETED = b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"
ENDED = error(400, "ExpiredToken", "The provided token has expired.")
CALLS: dict[str, tuple[Callable[[ObjectStore], object], Reply]] = {
    "get": (lambda store: store.get("a"), Reply(200, b"body", FOUND)),
    "part": (lambda store: store.put_part("a", "u", 1, b"body"), Reply(200, b"", FOUND)),
    "conditional put": (lambda store: store.put("a", b"b", IfAbsent()), Reply(200, b"", FOUND)),
    "completion": (
        lambda store: store.complete_upload("a", "u", (Part(1, MD5, 4),)),
        Reply(200, COMPLETED),
    ),
}
COUNTED = (
    "number = int(given.read_text()) + 1 if given.exists() else 1\ngiven.write_text(str(number))\n"
)
OVER = (
    "    given = dict(AccessKeyId='a', SecretAccessKey='s', SessionToken='t')\n"
    "    print(json.dumps(given | dict(Version=1, Expiration='2020-01-01T00:00:00Z')))\n"
)
FAILURES = {
    "gives expired ones": (OVER, "custom-process failed: they had expired already"),
    "gives no JSON": ("    print('Welcome!')\n", "custom-process failed: JSONDecodeError"),
}


@pytest.fixture
def issued(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Credentials from a program that names each it gives by a number: token-1, token-2."""
    issued_by(f"{COUNTED}token = f'token-{{number}}'", dt.timedelta(hours=1), tmp_path, monkeypatch)


def tokens(script: Script) -> list[str]:
    """The sessions that requests were signed with."""
    return [headers["x-amz-security-token"] for headers in script.headers]


@pytest.mark.usefixtures("issued")
@pytest.mark.parametrize(("call", "answer"), CALLS.values(), ids=CALLS)
def test_refused_before_their_time(
    way: Way, call: Callable[[ObjectStore], object], answer: Reply
) -> None:
    """Where the store says that a session has ended, another one is fetched, and used from then."""
    with scripted(answer) as script:
        store = way(script.store())
        past = 0 if answer.body == COMPLETED else 1  # of boto3
        script.replies = [*[ENDED] * (past + 1), answer]
        call(store)
        call(store)
        store.close()
    assert tokens(script) == ["token-1"] * (past + 1) + ["token-2"] * 2


def test_a_container_endpoint(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's credentials come from the URL in its environment, and anew where they end."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    ends = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)).isoformat()
    given = [
        Reply(
            body=json.dumps(
                {"AccessKeyId": "a", "SecretAccessKey": "s", "Token": token, "Expiration": ends}
            ).encode()
        )
        for token in ("token-1", "token-2")
    ]
    with scripted(*given) as agent, scripted(ENDED, ENDED, Reply(200, b"", FOUND)) as script:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{agent.endpoint}/role")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "secret")
        store = way(script.store())
        store.put_part("a", "u", 1, b"body")
        store.close()
    assert agent.requests == [("GET", "/role")] * 2
    assert {headers["authorization"] for headers in agent.headers} == {"secret"}
    assert tokens(script) == ["token-1"] * 2 + ["token-2"]


@pytest.mark.usefixtures("issued")
def test_new_ones_are_refused_as_well(way: Way) -> None:
    """Where the store refuses new credentials, too, the request says so and isn't sent for ever."""
    with scripted(ENDED) as script:
        store = way(script.store())
        with pytest.raises(PermissionDenied, match="ExpiredToken"):
            store.get("a")
        store.close()
    assert tokens(script) == ["token-1", "token-1", "token-2"]


@pytest.mark.parametrize(("call", "answer"), CALLS.values(), ids=CALLS)
def test_the_same_ones_again(
    way: Way,
    call: Callable[[ObjectStore], object],
    answer: Reply,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """If the source gives the refused credentials again, the request isn't sent again."""
    issued_by(f"{COUNTED}token = 'token-1'", dt.timedelta(hours=1), tmp_path, monkeypatch)
    with scripted(ENDED) as script, deadlines.within(10.0):
        store = way(script.store())
        for _ in range(2):
            with pytest.raises(PermissionDenied, match="ExpiredToken"):
                call(store)
        store.close()
    clients = 1 if answer.body == COMPLETED else 2
    assert tokens(script) == ["token-1"] * 2 * clients


def test_a_source_that_all_would_ask() -> None:
    """A source that gave the refused credentials again is asked now and then, not by everyone."""
    now, given = 0.0, ["token-1"]
    ends = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)).isoformat()

    def issue() -> dict[str, str]:
        given.append("token-1" if now < PAUSE else "token-2")
        return {"access_key": "a", "secret_key": "s", "token": given[-1], "expiry_time": ends}

    made = RefreshableCredentials.create_from_metadata(issue(), issue, "test")
    renewal = renewal_of(made, lambda: now)
    assert renewal is not None
    given.clear()
    assert [renewal.renew("token-1") for _ in range(3)] == [False] * 3
    assert given == ["token-1"]
    now = PAUSE
    assert [renewal.renew("token-1") for _ in range(3)] == [True] * 3
    assert given == ["token-1", "token-2"]


@pytest.mark.parametrize("call", [call for call, _ in CALLS.values()], ids=CALLS)
@pytest.mark.parametrize(("failure", "told"), FAILURES.values(), ids=FAILURES)
def test_a_source_that_fails(
    way: Way,
    call: Callable[[ObjectStore], object],
    failure: str,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Whatever goes wrong at the source, each request that needs it is PERMISSION_DENIED."""
    program = f"{COUNTED}if number > 1:\n{failure}    sys.exit()\ntoken = 'token-1'"
    issued_by(program, dt.timedelta(hours=1), tmp_path, monkeypatch)
    with scripted(ENDED) as script:
        store = way(script.store())
        for _ in range(2):
            with pytest.raises(PermissionDenied, match=told):
                call(store)
        store.close()


def test_a_source_that_is_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A program that isn't there is a mistake in the settings, and is named."""
    issued_by("", dt.timedelta(hours=1), tmp_path, monkeypatch)
    (tmp_path / "config").write_text("[default]\ncredential_process = /absent/issuer\n")
    with (
        scripted(Reply()) as script,
        pytest.raises(ConfigurationError, match="'/absent/issuer'"),
    ):
        script.store()


def test_credentials_that_cannot_be_fetched(way: Way) -> None:
    """Credentials that stand in the environment are refused at once."""
    with scripted(ENDED) as script:
        store = way(script.store())
        with pytest.raises(PermissionDenied, match="ExpiredToken"):
            store.get("a")
        store.close()
    assert len(script.requests) == 2
