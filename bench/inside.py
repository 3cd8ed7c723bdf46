"""`python -m bench.inside ghz|fleet …`: what the chart's Jobs run, against frontends elsewhere.

The tables go to standard output, and then a line of JSON. It exits with 1 if a limit was passed,
and with 2 if nothing could be measured; the reason is on standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
from typing import Any, Final, NoReturn, Protocol

from bench import load
from bench.fleet.crew import CrewError
from bench.fleet.run import pulled_by
from bench.fleet.spec import LAYERS, READ, FleetSpec, size_of
from bench.tenants import HEADER
from holdfast.errors import ConfigurationError, HoldfastError, because

PASSED: Final = 1
FAILED: Final = 2


class Result(Protocol):
    """What was found."""

    @property
    def within_limits(self) -> bool:
        """Whether it is good."""
        ...

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        ...

    def text(self) -> str:
        """For people."""
        ...


class ToldToEnd(BaseException):
    """SIGTERM has come."""


def _told_to_end(*_: object) -> NoReturn:
    raise ToldToEnd


def main(arguments: list[str] | None = None) -> int:
    """Measures, and prints what was found; returns the exit code."""
    chosen = parser().parse_args(arguments)
    # An end that is asked for takes the usual way out, on which nothing is left behind.
    signal.signal(signal.SIGTERM, _told_to_end)
    try:
        result: Result = chosen.run(chosen)
    except (HoldfastError, CrewError) as error:
        print(f"nothing measured: {error}", file=sys.stderr)
        return FAILED
    except (asyncio.CancelledError, ToldToEnd):
        print("nothing measured: it was told to end", file=sys.stderr)
        return FAILED
    print(result.text())
    print(json.dumps({chosen.part: result.as_dict()}), flush=True)
    return 0 if result.within_limits else PASSED


def parser() -> argparse.ArgumentParser:
    """What the command line may say."""
    made = argparse.ArgumentParser(prog="python -m bench.inside", description=__doc__)
    parts = made.add_subparsers(dest="part", required=True)
    rpcs = parts.add_parser("ghz", help="ghz on every RPC")
    rpcs.add_argument("profiles", nargs="*", choices=[*load.profiles(), []], help="by default all")
    rpcs.add_argument("--address", required=True, help="of frontends")
    rpcs.add_argument("--tenant", default=load.TENANT, help="is emptied")
    rpcs.add_argument("--header", default=HEADER, help="that names the tenant")
    rpcs.add_argument("--seconds", type=float, default=0, help="of each profile, if not its calls")
    rpcs.set_defaults(
        run=lambda chosen: load.run(
            chosen.profiles, chosen.address, chosen.tenant, chosen.seconds, chosen.header
        )
    )
    fleet = parts.add_parser("fleet", help="agents that pull one image at once")
    fleet.add_argument("--frontends", required=True, help="host:port of each, with commas")
    fleet.add_argument("--metrics", required=True, help="host:port of HTTP ports, with commas")
    fleet.add_argument("--prefix", default="holdfast-load-fleet", help="of the tenants' names")
    fleet.add_argument("--header", default=HEADER, help="that names the tenant")
    fleet.add_argument("--nodes", type=int, default=50, help="how many")
    fleet.add_argument("--layers", type=size_of, nargs="+", default=LAYERS, help="sizes")
    fleet.add_argument("--rate", type=float, default=30.0, help="MB/s of the image's source")
    fleet.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    fleet.add_argument("--read-size", type=size_of, default=READ, help="of a Read, unpacking")
    fleet.add_argument("--spread", type=float, default=5.0, help="s within which all begin")
    fleet.add_argument("--patience", type=float, default=600.0, help="seconds for a node's pull")
    fleet.set_defaults(run=lambda chosen: asyncio.run(pulled_by(spec_of(chosen))))
    return made


def spec_of(chosen: argparse.Namespace) -> FleetSpec:
    """The fleet that a command line asks for.

    Raises:
        ConfigurationError: it can't be.
    """
    return FleetSpec(
        frontends=addresses_of(chosen.frontends),
        metrics=addresses_of(chosen.metrics),
        prefix=chosen.prefix,
        nodes=chosen.nodes,
        layers=tuple(chosen.layers),
        rate=chosen.rate * 1e6,
        processes=chosen.processes,
        header=chosen.header,
        spread=chosen.spread,
        read=chosen.read_size,
        patience=chosen.patience,
    )


def addresses_of(text: str) -> tuple[str, ...]:
    """All addresses of hosts, `host:port` with commas: each node knows each frontend.

    Raises:
        ConfigurationError: a host has none, or a port is missing.
    """
    found: dict[str, None] = {}
    for one in text.split(","):
        host, _, port = one.strip().rpartition(":")
        try:
            answers = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise ConfigurationError(f"{one!r} has no address: {because(error)}") from error
        for *_, (address, *_) in sorted(answers):
            found[f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"] = None
    return tuple(found)


if __name__ == "__main__":
    sys.exit(main())
