"""The rules of a fleet in one file, `IDENTITIES`: a strict TOML that docs/operations.md describes.

    [issuers.cluster]
    issuer = "https://kubernetes.default.svc"
    audience = "holdfast"
    keys = "https://kubernetes.default.svc/openid/v1/jwks"

    [[rules]]
    name = "pods"
    token = "([a-z0-9.-]+)"
    issuer = "cluster"
    claim = ["kubernetes.io", "node", "name"]
    require = { sub = "system:serviceaccount:holdfast:agent" }

What isn't known is refused, so that a misspelt condition can't be a missing one.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from holdfast.errors import ConfigurationError, InvalidArgument, because, shorten
from holdfast.service.trust.identity import Role
from holdfast.service.trust.identity_rules import IdentityRule, RuleKind
from holdfast.service.trust.subject_patterns import SubjectPattern
from holdfast.service.trust.token_issuers import USUAL, TokenIssuer

LARGEST: Final = 256 * 2**10
"""The most bytes of the file."""
MOST_RULES: Final = 256
"""The most rules, and the most issuers."""
DEEPEST: Final = 8
"""The longest path of a claim that is required."""
NAME: Final = re.compile(r"[a-z0-9._-]{1,63}", re.ASCII)
_WORDS: Final = {"str": "a text", "list": "a list", "dict": "a table"}
Kind = TypeVar("Kind")
_KINDS: Final = tuple(kind.value for kind in RuleKind)
_RULE: Final = {"name", "role", "tenant", "issuer", "claim", "require", "ca", *_KINDS}
_ISSUER: Final = {"issuer", "audience", "keys", "algorithms", "ca", "bearer"}


@dataclass(frozen=True, slots=True)
class Rulebook:
    """All rules, in their order, and the issuers of the tokens that they look at."""

    rules: tuple[IdentityRule, ...] = ()
    issuers: tuple[TokenIssuer, ...] = ()


def rulebook(text: bytes) -> Rulebook:
    """Parses the file.

    Raises:
        ConfigurationError: it is no TOML, or a rule is wrong; the text says where.
    """
    if len(text) > LARGEST:
        raise ConfigurationError(f"it has more than {LARGEST} bytes")
    try:
        found = tomllib.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"it isn't TOML: {because(error)}") from error
    try:
        _refuse_unknown(found, {"rules", "issuers"}, "the file")
        issuers = tuple(_issuers(_typed(found, "issuers", dict, {}, "the file")))
        rules = tuple(_rules(_typed(found, "rules", list, [], "the file"), issuers))
    except InvalidArgument as error:
        raise ConfigurationError(because(error)) from error
    return Rulebook(rules, issuers)


def _issuers(tables: Mapping[str, object]) -> Iterator[TokenIssuer]:
    _check_count("issuers", len(tables))
    seen: set[str] = set()
    for name, table in tables.items():
        where = f"issuer {shorten(name)}"
        if not NAME.fullmatch(name) or not isinstance(table, dict):
            raise InvalidArgument(f"{where}: write [issuers.NAME], with 1 to 63 of a-z 0-9 . _ -")
        _refuse_unknown(table, _ISSUER, where)
        texts = {key: _text(table, key, where) for key in _ISSUER - {"algorithms"}}
        algorithms = frozenset(_texts(table, "algorithms", sorted(USUAL), where))
        one = TokenIssuer(name, **texts, algorithms=algorithms)
        try:
            one.check()
        except InvalidArgument as error:
            raise InvalidArgument(f"{where}: {because(error)}") from error
        if one.issuer in seen:
            raise InvalidArgument(f"{where}: another one has the issuer {shorten(one.issuer)}")
        seen.add(one.issuer)
        yield one


def _rules(tables: list[object], issuers: tuple[TokenIssuer, ...]) -> Iterator[IdentityRule]:
    _check_count("rules", len(tables))
    known = {one.name for one in issuers}
    seen: set[str] = set()
    for number, table in enumerate(tables, 1):
        where = f"rule {number}"
        if not isinstance(table, dict):
            raise InvalidArgument(f"{where}: write [[rules]]")
        name = _text(table, "name", where)
        if not NAME.fullmatch(name) or name in seen:
            raise InvalidArgument(
                f"{where}: name {shorten(name)} must be 1 to 63 of a-z 0-9 . _ -, and no other's"
            )
        seen.add(name)
        where = f"rule {number} {name!r}"
        _refuse_unknown(table, _RULE, where)
        try:
            rule = _rule(name, table, where)
            rule.check()
        except InvalidArgument as error:
            text = because(error)
            raise InvalidArgument(text if text.startswith(where) else f"{where}: {text}") from error
        if rule.issuer and rule.issuer not in known:
            raise InvalidArgument(f"{where}: there is no [issuers.{rule.issuer}]")
        yield rule


def _rule(name: str, table: Mapping[str, Any], where: str) -> IdentityRule:
    kinds = [kind for kind in _KINDS if kind in table]
    if len(kinds) != 1:
        raise InvalidArgument(f"give one of {', '.join(_KINDS)}, which says what is looked at")
    kind = RuleKind(kinds[0])
    pattern, uids = None, frozenset[int]()
    if kind is RuleKind.UID:
        uids = frozenset(_users(table[kind]))
    else:
        pattern = SubjectPattern.parse(_text(table, kind, where))
    role = _text(table, "role", where, Role.NODE.value)
    if role not in set(Role):
        raise InvalidArgument(f"role {shorten(role)} isn't one of {', '.join(Role)}")
    return IdentityRule(
        name,
        kind,
        Role(role),
        pattern,
        _text(table, "tenant", where),
        uids,
        _text(table, "issuer", where),
        tuple(_texts(table, "claim", [], where)),
        tuple(_required(_typed(table, "require", dict, {}, where), (), where)),
        _text(table, "ca", where),
    )


def _required(
    table: Mapping[str, Any], above: tuple[str, ...], where: str
) -> Iterator[tuple[tuple[str, ...], frozenset[str]]]:
    """Yields the claims that a rule requires: tables nest as the claims do."""
    for name, found in table.items():
        path = (*above, name)
        if len(path) > DEEPEST:
            raise InvalidArgument(f"{where}: require nests deeper than {DEEPEST} tables")
        if isinstance(found, dict) and found:
            yield from _required(found, path, where)
            continue
        texts = found if isinstance(found, list) else [found]
        if not texts or not all(isinstance(one, str) and one for one in texts):
            raise InvalidArgument(
                f"{where}: require {shorten('/'.join(path))} must be a text or a list of texts"
            )
        yield path, frozenset(texts)


def _users(found: object) -> list[int]:
    given: list[Any] = found if isinstance(found, list) else [found]
    if not given or not all(type(uid) is int and 0 <= uid < 2**32 for uid in given):
        raise InvalidArgument("uid is a user's number, or a list of them")
    return given


def _texts(table: Mapping[str, Any], key: str, otherwise: list[str], where: str) -> list[str]:
    found = _typed(table, key, list, otherwise, where)
    if not all(isinstance(one, str) and one for one in found):
        raise InvalidArgument(f"{where}: {key} is a list of texts")
    return found


def _text(table: Mapping[str, Any], key: str, where: str, otherwise: str = "") -> str:
    return _typed(table, key, str, otherwise, where)


def _typed(
    table: Mapping[str, Any], key: str, kind: type[Kind], otherwise: Kind, where: str
) -> Kind:
    found = table.get(key, otherwise)
    if not isinstance(found, kind):
        raise InvalidArgument(f"{where}: {key} must be {_WORDS[kind.__name__]}")
    return found


def _refuse_unknown(table: Mapping[str, object], known: set[str], where: str) -> None:
    unknown = sorted(table.keys() - known)
    if unknown:
        given = ", ".join(map(shorten, unknown))
        raise InvalidArgument(f"{where}: {given} isn't known; use {', '.join(sorted(known))}")


def _check_count(what: str, count: int) -> None:
    if count > MOST_RULES:
        raise InvalidArgument(f"there are {count} {what}, and {MOST_RULES} are allowed")
