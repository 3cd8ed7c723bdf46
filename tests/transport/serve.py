"""A program that serves the interop and the bytes service by our transport, for clients of others.

`python -m tests.transport.serve PORT [--loop asyncio]` serves on loopback until it is killed.
"""

from __future__ import annotations

import argparse
import asyncio

import uvloop

from holdfast.transport.limits import Limits

from .local import listening


async def serve(port: int) -> None:
    """Serves until the process ends."""
    await listening(Limits(), port)
    await asyncio.Event().wait()


def main() -> None:
    """Reads the command line, and serves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="uvloop")
    options = parser.parse_args()
    run = uvloop.run if options.loop == "uvloop" else asyncio.run
    run(serve(options.port))


if __name__ == "__main__":
    main()
