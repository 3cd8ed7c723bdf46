"""`python -m bench PART …`: runs one of the measurements."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from pathlib import Path
from typing import Any, Protocol

from bench import (
    dashboards,
    idle_connections,
    idle_streams,
    large_blob,
    load,
    load_here,
    many_holds,
    resets,
    restarts,
    scarce_buffers,
    together,
    transport_floods,
    versions,
)
from bench.calls import run as calls
from bench.capacity import run as capacity
from bench.capacity.fleet import Fleet
from bench.compare import run as compare
from bench.fleet import here as fleet_here
from bench.fleet.spec import LAYERS, READ, size_of
from bench.profile import run as profile
from bench.profile.sampling import Sampling
from bench.soak import run as soak

OUT = Path(__file__).parent / "out"
ROOT = Path(__file__).parent.parent


class Result(Protocol):
    """What a part found."""

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


def main() -> int:
    """Runs what was asked for; 1 if a limit was passed."""
    chosen = _parser().parse_args()
    result: Result = chosen.run(chosen)
    OUT.mkdir(exist_ok=True)
    (OUT / f"{chosen.part}.json").write_text(json.dumps(result.as_dict(), indent=2) + "\n")
    print(result.text())
    return 0 if result.within_limits else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    large = parts.add_parser("large-blob", help="one blob of many GiB through one frontend")
    large.add_argument("--gib", type=float, default=20.0, help="size of the blob")
    large.add_argument("--folder", type=Path, default=None, help="where the store goes")
    large.set_defaults(run=lambda chosen: large_blob.run(chosen.gib, chosen.folder))

    long = parts.add_parser("soak", help="a fleet under load and faults; nothing may be lost")
    long.add_argument("--minutes", type=float, default=60.0, help="of load and faults")
    long.add_argument("--seed", type=int, default=None, help="by default one that is printed")
    long.add_argument("--backend", choices=("folder", "minio"), default="folder")
    long.add_argument("--folder", type=Path, default=None, help="where everything goes")
    long.set_defaults(run=_soak)

    fleet = parts.add_parser("capacity", help="requests and cost of a simulated fleet")
    fleet.add_argument("--tenants", type=int, default=1_000, help="nodes")
    fleet.add_argument("--holds", type=int, default=1_000, help="of each tenant")
    fleet.add_argument("--blobs", type=int, default=50_000, help="in the store")
    fleet.add_argument("--retained", type=int, default=1_000_000, help="blobs that nobody holds")
    fleet.add_argument("--docs", action="store_true", help="write docs/capacity.md's tables anew")
    fleet.set_defaults(run=_capacity)

    pairs = parts.add_parser("compare", help="beside the registry, containerd's server and boto3")
    pairs.add_argument("pairs", nargs="*", choices=[*compare.PAIRS, []], help="by default all")
    pairs.add_argument("--rounds", type=int, default=5, help="counted runs of each")
    pairs.add_argument("--folder", type=Path, default=None, help="where everything goes")
    pairs.add_argument(
        "--add",
        action="store_true",
        help="keep the last report's other pairs; without names, measure what it lacks",
    )
    pairs.set_defaults(run=_compare)

    _looks_inside(parts)
    _about_connections(parts)

    idle = parts.add_parser("idle-streams", help="what open and silent write streams cost")
    idle.add_argument("--streams", type=int, default=idle_streams.STREAMS, help="how many")
    idle.add_argument("--seconds", type=float, default=idle_streams.SECONDS, help="of silence")
    idle.set_defaults(run=lambda chosen: idle_streams.run(chosen.streams, chosen.seconds))

    scarce = parts.add_parser("scarce-buffers", help="writers whose parts don't fit the buffers")
    scarce.set_defaults(run=lambda _: scarce_buffers.run())

    fleet_pull = parts.add_parser("together", help="real containerds that pull one image at once")
    fleet_pull.add_argument("--nodes", type=int, default=4, help="that pull together")
    fleet_pull.add_argument("--mib", type=int, default=256, help="size of the largest layer")
    fleet_pull.set_defaults(run=lambda chosen: together.run(chosen.nodes, chosen.mib * 2**20))

    shown = parts.add_parser("dashboards", help="pictures of the dashboards, from a real run")
    shown.set_defaults(run=lambda _: dashboards.run())

    many = parts.add_parser("many-holds", help="List of a tenant with very many holds")
    many.add_argument("--holds", type=int, default=many_holds.HOLDS, help="how many")
    many.add_argument("--folder", type=Path, default=None, help="where the store goes")
    many.set_defaults(run=lambda chosen: many_holds.run(chosen.holds, chosen.folder))

    _from_nodes(parts)
    return parser


def _from_nodes(parts: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The parts that the chart's Jobs run, too: `bench.inside`."""
    rpcs = parts.add_parser("load", help="ghz on every RPC; see bench/ghz")
    rpcs.add_argument("profiles", nargs="*", choices=[*load.profiles(), []], help="by default all")
    rpcs.add_argument("--address", default="", help="of a frontend; by default one of its own")
    rpcs.add_argument("--tenant", default=load.TENANT, help="is emptied; sent in x-holdfast-tenant")
    rpcs.add_argument("--seconds", type=float, default=0, help="of each profile, if not its calls")
    rpcs.set_defaults(
        run=lambda chosen: load_here.run(
            chosen.profiles, chosen.address, chosen.tenant, chosen.seconds
        )
    )

    pulling = parts.add_parser("fleet", help="agents that pull one image at once")
    pulling.add_argument("--nodes", type=int, default=50, help="how many")
    pulling.add_argument("--layers", type=size_of, nargs="+", default=LAYERS, help="sizes")
    pulling.add_argument("--rate", type=float, default=30.0, help="MB/s of the image's source")
    pulling.add_argument("--processes", type=int, default=2, help="that have the nodes")
    pulling.add_argument("--read-size", type=size_of, default=READ, help="of a Read, unpacking")
    pulling.add_argument("--spread", type=float, default=5.0, help="s within which all begin")
    pulling.set_defaults(
        run=lambda chosen: fleet_here.run(
            chosen.nodes,
            tuple(chosen.layers),
            chosen.rate * 1e6,
            chosen.processes,
            spread=chosen.spread,
            read=chosen.read_size,
        )
    )


def _about_connections(parts: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The parts that look at the transport."""
    floods = parts.add_parser("transport-floods", help="calls beside floods and idle connections")
    floods.add_argument("--seconds", type=float, default=transport_floods.SECONDS, help="of each")
    floods.add_argument(
        "--connections", type=int, default=transport_floods.CONNECTIONS, help="idle ones"
    )
    floods.set_defaults(run=lambda chosen: transport_floods.run(chosen.seconds, chosen.connections))

    resetting = parts.add_parser("resets", help="neighbours of calls that are opened and reset")
    resetting.add_argument("--calls", type=int, default=resets.CALLS, help="that are reset")
    resetting.set_defaults(run=lambda chosen: resets.run(chosen.calls))

    quiet = parts.add_parser("idle-connections", help="what connections that do nothing cost")
    quiet.add_argument("--connections", type=int, default=idle_connections.CONNECTIONS)
    quiet.add_argument("--seconds", type=float, default=idle_connections.SECONDS, help="idle")
    quiet.add_argument("--transport", choices=("own", "grpcio"), default="own")
    quiet.set_defaults(
        run=lambda chosen: idle_connections.run(
            chosen.connections, chosen.seconds, chosen.transport
        )
    )

    rolling = parts.add_parser("restarts", help="rolling restarts under load; no call may fail")
    rolling.add_argument("--rounds", type=int, default=restarts.ROUNDS, help="of all frontends")
    rolling.add_argument("--transport", choices=("own", "grpcio"), default="own")
    rolling.set_defaults(run=lambda chosen: restarts.run(chosen.rounds, chosen.transport))


def _looks_inside(parts: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The parts that show where a frontend's time goes."""
    hot = parts.add_parser("profile", help="a flame graph of a frontend, and CPU of everybody")
    hot.add_argument("--load", choices=[*profile.LOADS], required=True)
    hot.add_argument("--seconds", type=float, default=20.0, help="of counting, and of sampling")
    hot.add_argument("--out", type=Path, default=None, help="the picture")
    hot.add_argument("--backend", choices=("minio", "folder"), default="minio")
    hot.add_argument("--native", action="store_true", help="frames of C and C++, too")
    hot.add_argument("--gil", action="store_true", help="only who holds the interpreter")
    hot.add_argument("--threads", action=argparse.BooleanOptionalAction, default=True)
    hot.add_argument("--top", type=int, default=15, help="lines to tell")
    hot.set_defaults(run=_profile)

    counted = parts.add_parser("calls", help="calls of our functions per RPC, by a profile hook")
    counted.add_argument("trees", nargs="*", type=Path, default=[ROOT], help="of other versions")
    counted.add_argument("--top", type=int, default=0, help="functions to list")
    counted.set_defaults(run=lambda chosen: calls.run(chosen.trees, chosen.top))

    both = parts.add_parser("versions", help="two versions in turns: is anything slower?")
    both.add_argument("old", type=Path, help="the folder of the old version")
    both.add_argument("--new", type=Path, default=ROOT, help="that of the new one")
    both.add_argument("--loads", nargs="*", choices=[*profile.LOADS], default=[])
    both.add_argument("--rounds", type=int, default=5, help="counted runs of each")
    both.add_argument(
        "--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of the new one alone"
    )
    both.set_defaults(run=_versions)


def _versions(chosen: argparse.Namespace) -> Result:
    settings = dict(pair.split("=", 1) for pair in chosen.set)
    return versions.run(chosen.old, chosen.new, chosen.loads, chosen.rounds, settings)


def _soak(chosen: argparse.Namespace) -> Result:
    seed = secrets.randbelow(10**6) if chosen.seed is None else chosen.seed
    return soak.run(chosen.minutes, seed, chosen.backend, chosen.folder)


def _capacity(chosen: argparse.Namespace) -> Result:
    simulated = Fleet(chosen.tenants, chosen.holds, chosen.blobs)
    return capacity.run(simulated, retained=chosen.retained, write_page=chosen.docs)


def _compare(chosen: argparse.Namespace) -> Result:
    return compare.run(chosen.pairs, chosen.rounds, chosen.folder, OUT, add=chosen.add)


def _profile(chosen: argparse.Namespace) -> Result:
    how = Sampling(chosen.seconds, chosen.native, chosen.gil, chosen.threads)
    picture = chosen.out or OUT / f"profile-{chosen.load}.svg"
    return profile.run(chosen.load, how, picture, chosen.backend, chosen.top)


if __name__ == "__main__":
    sys.exit(main())
