"""`holdfast gc --doomed`: what the next runs of the collector may delete."""

from __future__ import annotations

from pathlib import Path

import typer

from holdfast.cli.output import print_json, size
from holdfast.moments import moment
from holdfast.service.backends import tended_store
from holdfast.service.collector.doomed import Doomed
from holdfast.service.settings import REQUEST_LANDING, Settings
from holdfast.storage.spool import Spools


def show_doomed(settings: Settings, spool_dir: Path | None, *, as_json: bool) -> None:
    """Prints each doomed data object, its size, and since when it is doomed; then the totals.

    Raises:
        ConfigurationError: the store, or the folder for sorting, isn't there.
        DataLoss: the list of doomed data is damaged.
    """
    count = total = 0
    with tended_store(settings, dry_run=True) as store, Spools(spool_dir) as spools:
        for doom in Doomed(store, spools.new).newest(REQUEST_LANDING):
            count, total = count + 1, total + doom.size
            if as_json:
                print_json({"key": doom.key, "bytes": doom.size, "since": doom.since})
            else:
                typer.echo(f"{doom.key}  {size(doom.size)}  since {moment(doom.since or 0.0)}")
    if not as_json:
        typer.echo(f"{count:,} doomed, {size(total)}")
