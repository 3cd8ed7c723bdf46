"""The sockets that listeners are bound to."""

from __future__ import annotations

import ipaddress
import os
import socket
import stat
from pathlib import Path

from holdfast.errors import ConfigurationError, because
from holdfast.service.listeners import Listener


def bound_sockets(listener: Listener) -> list[socket.socket]:
    """Binds a listener's addresses; a name may have several.

    Raises:
        ConfigurationError: one of them can't be bound.
    """
    try:
        if listener.scheme == "unix":
            return [_unix(listener)]
        return _tcp(listener.host, listener.port)
    except OSError as error:
        raise ConfigurationError(
            f"listener {listener.url!r}: can't listen there ({because(error)}); check whether "
            "the address is in use, or its folder is missing"
        ) from error


def _unix(listener: Listener) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX)
    # Otherwise the socket would be open to others until its mode is set.
    previous = os.umask(0o777 & ~listener.mode)
    try:
        bound.bind(listener.path)
        # Clients that wait for the file connect as soon as it is there: containerd's `ctr` ends if
        # that is refused, while whoever will accept is still being made.
        bound.listen()
        Path(listener.path).chmod(listener.mode)
    except OSError:
        bound.close()
        raise
    finally:
        os.umask(previous)
    return bound


def _tcp(host: str, port: int) -> list[socket.socket]:
    if _unspecified(host) and socket.has_dualstack_ipv6():
        # Both families, whichever was written: a pod has addresses of one, or of both.
        return [socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)]
    return _on_each(host, port)


def _unspecified(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:  # a name
        return False


def _on_each(host: str, port: int) -> list[socket.socket]:
    bound: list[socket.socket] = []
    try:
        for family, _, _, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            where = (address[0], port or (bound[0].getsockname()[1] if bound else 0))
            bound.append(socket.create_server(where, family=family))
    except OSError:
        for one in bound:
            one.close()
        raise
    return bound


def free_socket(listener: Listener) -> None:
    """Removes a socket that a dead server has left at the listener's path.

    Raises:
        ConfigurationError: another server listens there, or the file isn't a socket.
    """
    path = Path(listener.path)
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigurationError(
            f"listener {listener.url!r}: {listener.path} is there and isn't a socket"
        )
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(listener.path)
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError as error:
            raise ConfigurationError(f"listener {listener.url!r}: {because(error)}") from error
    raise ConfigurationError(f"listener {listener.url!r}: another server listens there")
