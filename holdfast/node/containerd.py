"""containerd's `config.toml`, with Holdfast in place of its own content store.

Holdfast joins as a *proxy plugin* of type `content`. containerd's metadata uses the only content
plugin: if there are two, 1.x uses either of them and 2.x doesn't start. So containerd's own
plugin is disabled.

Source: containerd's `cmd/containerd/server/config` (1.x: `services/server/config`).
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar

from holdfast.errors import InvalidArgument, because, shorten

DEFAULT_SOCKET: Final = "/run/holdfast/node.sock"
PLUGIN: Final = "holdfast"
OWN_STORE: Final = "io.containerd.content.v1.content"
"""containerd's own content store, as a plugin."""
MAX_SOCKET_PATH: Final = 107
"""The most bytes in a unix socket's path (sockaddr_un)."""
_PLUGIN_TYPE: Final = "io.containerd.content.v1"
_CONTENT: Final = {"content", _PLUGIN_TYPE}
"""How a proxy plugin may say that it is a content store."""
_T = TypeVar("_T")
_VERSION: Final = re.compile(r"v?(\d+)\.(\d+)([.~+-].*)?", re.ASCII)
_FIRST_WITH_4: Final = (2, 3)
"""The first containerd whose files may be of version 4."""

_TEXT: Final = """\
version = {version}

# containerd must have one content store only: this disables its own.
disabled_plugins = ["{own_store}"]

[proxy_plugins.{plugin}]
  type = "content"
  address = {address}
"""


def config(version: int, socket: str = DEFAULT_SOCKET) -> str:
    """A config.toml of that version of the format: a complete file, or one to import.

    Raises:
        InvalidArgument: `socket` isn't the absolute path of a unix socket.
    """
    if (
        not socket.startswith("/")
        or not socket.isprintable()
        or len(socket.encode()) > (MAX_SOCKET_PATH)
    ):
        raise InvalidArgument(
            f"socket {shorten(socket)} can't be one: give an absolute path of at most "
            f"{MAX_SOCKET_PATH} bytes, as in {DEFAULT_SOCKET}"
        )
    address = json.dumps(socket, ensure_ascii=False)
    return _TEXT.format(version=version, own_store=OWN_STORE, plugin=PLUGIN, address=address)


def config_version(containerd: str, beside: Mapping[str, Any] | None = None) -> int:
    """The version of the format that a containerd needs, given a file that it already has.

    containerd 2.0 to 2.2 treat all their files as being of the highest version that one of
    them states, so an imported file must state the version of the file that imports it.

    Raises:
        InvalidArgument: this containerd isn't known, or it can't read the file.
    """
    found = _VERSION.fullmatch(containerd.strip())
    if found is None:
        raise InvalidArgument(
            f"{shorten(containerd)} is no version of containerd; give it as in 1.7 or 2.1.3"
        )
    release = int(found[1]), int(found[2])
    readable = _readable(release)
    if not readable:
        raise InvalidArgument(
            f"containerd {containerd} isn't known; Holdfast knows 1.6, 1.7 and 2.x"
        )
    if beside is None:
        return 2 if release < (2, 0) else 3
    stated = beside.get("version", 1)
    if stated not in readable:
        raise InvalidArgument(
            f"the file is of version {stated!r}, and for containerd {containerd} it must be "
            f"{' or '.join(map(str, readable))}; `containerd config migrate` (2.x) rewrites it"
        )
    return int(stated)


def _readable(release: tuple[int, int]) -> tuple[int, ...]:
    """The versions of the format in which proxy plugins are written as they are here."""
    if release in {(1, 6), (1, 7)}:
        return (2,)
    if release[0] != 2:  # noqa: PLR2004 -- containerd's major version
        return ()
    return (2, 3, 4) if release >= _FIRST_WITH_4 else (2, 3)


def parse(text: str) -> dict[str, Any]:
    """Reads a config.toml.

    Raises:
        InvalidArgument: it isn't TOML.
    """
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"the file isn't TOML: {because(error)}") from None


def conflicts(existing: Mapping[str, Any]) -> Iterator[str]:
    """What in a config.toml keeps Holdfast from being the content store alongside it."""
    for name, proxy in _value(existing, "proxy_plugins", dict).items():
        if name != PLUGIN and _value({name: proxy}, name, dict).get("type") in _CONTENT:
            yield f"[proxy_plugins.{name}] is a content store too; remove it"
    if OWN_STORE in _value(existing, "required_plugins", list):
        yield f"required_plugins has {OWN_STORE!r}, which must be disabled; remove it there"
    if f"{_PLUGIN_TYPE}.{PLUGIN}" in _value(existing, "disabled_plugins", list):
        yield "disabled_plugins has Holdfast's own plugin; remove it there"


def _value(table: Mapping[str, Any], key: str, kind: type[_T]) -> _T:
    """A value of that kind; an empty one if it is absent or of another kind."""
    value = table.get(key)
    return value if isinstance(value, kind) else kind()
