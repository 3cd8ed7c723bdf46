"""`holdfast tenants`: lists what tenants hold, and drops tenants that are gone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer
import uvloop

from holdfast.cli.output import print_json, size
from holdfast.errors import InvalidArgument, because, shorten
from holdfast.moments import moment
from holdfast.service.collector.report import CollectedKind, CollectionReport, Fate
from holdfast.service.commands.audited import FAILED, OK, audited
from holdfast.service.commands.options import with_settings
from holdfast.service.holdings.quota_file import quotas_in_force
from holdfast.service.holdings.quotas import Quota
from holdfast.service.process import logs
from holdfast.service.settings import load
from holdfast.service.tenants import run
from holdfast.service.tenants.brake import ExpiryBraked
from holdfast.service.tenants.consent import consent, refuse_unknown
from holdfast.service.tenants.existing import existing
from holdfast.service.tenants.expiry import LEAST_GRACE, ExpiryOutcome, Rules, Verdict
from holdfast.service.tenants.listing import Summary
from holdfast.storage.held import FleetHeld
from holdfast.values import check_tenant

app = typer.Typer(
    name="tenants",
    help="Show what tenants hold, and drop tenants that are gone.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}
SAYS: Final = {
    Verdict.KEPT: ("is there", "is there"),
    Verdict.FOUND: ("is there again", "is there again"),
    Verdict.MISSING: ("would be marked missing", "marked missing"),
    Verdict.WAITING: ("missing", "missing"),
    Verdict.DROPPED: ("would be dropped", "dropped"),
    Verdict.RETURNED: ("", "came back while it was being dropped; kept"),
    Verdict.FAILED: ("failed", "failed"),
}
"""The words for a verdict: in a rehearsal, and when it was carried out."""
SAID: Final = {Verdict.DROPPED: OK, Verdict.FAILED: FAILED}
"""The verdicts that the audit log has, and their outcomes there."""
LINE: Final = "{:<40} {:>9} {:>10} {:<23} {}"
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]


@app.command("list")
@with_settings
def list_tenants(
    options: Mapping[str, Any],
    *,
    sizes: Annotated[
        bool,
        typer.Option(
            "--sizes/--no-sizes", help="Whether to read a hold of each digest, for its size."
        ),
    ] = True,
    as_json: Json = False,
) -> None:
    """List all tenants: the digests and bytes that each holds, of how many, when it was seen.

    The last line is about all of them together, as the last collection has found it.
    """
    settings = load(**options)
    logs.configure("warning", settings.log_format)
    if not as_json:
        typer.echo(LINE.format("TENANT", "DIGESTS", "BYTES", "SEEN", "").rstrip())
    quotas = quotas_in_force(settings)
    for summary in run.summaries(settings, sizes=sizes):
        quota = quotas.of(summary.tenant)
        if as_json:
            bounds = {"digests_quota": quota.holds, "bytes_quota": quota.bytes}
            print_json({**summary.as_json(), **bounds})
        else:
            typer.echo(_line(summary, quota))
    held = run.fleet_held(settings)
    if held is not None:
        _print_fleet(held, quotas.fleet, as_json=as_json)


def _print_fleet(held: FleetHeld, most: int | None, *, as_json: bool) -> None:
    """Prints what all tenants held together when a collection looked; no tenant has that name."""
    if as_json:
        figures = {"blobs": held.blobs, "bytes": held.size, "at": held.at, "bytes_quota": most}
        print_json({"fleet": figures})
        return
    shares = [] if most is None else [f"{100 * held.size // most} % of {size(most)}"]
    note = ", ".join([*shares, f"counted {moment(held.at)}"])
    typer.echo(LINE.format("(fleet, each blob once)", held.blobs, size(held.size), "", note))


@app.command("drop")
@with_settings
def drop(
    options: Mapping[str, Any],
    *,
    tenant: Annotated[str, typer.Argument(metavar="NAME", help="The tenant.")],
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask for confirmation.")] = False,
    as_json: Json = False,
) -> None:
    """Give up all holds and ingests of a tenant that will not come back."""
    check_tenant(tenant)
    settings = load(**options)
    logs.configure("warning", settings.log_format)
    refuse_unknown(settings, [tenant])
    consent([tenant], yes=yes)
    with audited(settings, "tenants drop", target=tenant):
        report, complete = uvloop.run(run.drop(settings, tenant))
        _print_dropped(tenant, report, complete=complete, as_json=as_json)


def _print_dropped(tenant: str, report: CollectionReport, *, complete: bool, as_json: bool) -> None:
    """Prints what a tenant has given up.

    Raises:
        typer.Exit: it was seen meanwhile.
    """
    given = report.count(CollectedKind.HOLDS, Fate.GIVEN_UP)
    dropped = report.count(CollectedKind.INGESTS, Fate.DROPPED)
    if as_json:
        told = {"tenant": tenant, "digests": given, "ingests": dropped, "complete": complete}
        print_json(told)
    else:
        typer.echo(f"{tenant}: gave up {given} digests, dropped {dropped} ingests")
    if not complete:
        typer.echo(
            f"{tenant} was seen meanwhile and keeps the rest: stop its node and try again", err=True
        )
        raise typer.Exit(1)


@app.command("expire")
@with_settings
def expire(
    options: Mapping[str, Any],
    *,
    unseen_for: Annotated[
        str | None,
        typer.Option(
            metavar="AGE", help="Tenants that weren't seen for so long, such as 30d, are gone."
        ),
    ] = None,
    exist: Annotated[
        str | None,
        typer.Option(
            "--existing",
            metavar="SOURCE",
            help="Tenants that a file, stdin (-) or the nodes of this cluster (kubernetes) don't "
            "name are gone.",
        ),
    ] = None,
    grace: Annotated[
        str,
        typer.Option(
            metavar="AGE", help="Time from the run that misses a tenant to the run that drops it."
        ),
    ] = "24h",
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN", help="Consider only these tenants, such as 'node-*'; repeatable."
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Never drop these tenants; repeatable."),
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Drop them; otherwise only report what would be done.")
    ] = False,
    accept: Annotated[
        bool, typer.Option("--accept", help="Drop all of them, however many are gone.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Drop tenants that are gone: one run marks them missing, a later one drops them."""
    rules = _rules(unseen_for, exist, grace, only or [], keep or [])
    settings = load(**options)
    logs.configure("warning", settings.log_format)
    failed = False

    def tell(outcome: ExpiryOutcome) -> None:
        nonlocal failed
        failed |= outcome.verdict is Verdict.FAILED
        if outcome.verdict in SAID:
            note(target=outcome.tenant, outcome=SAID[outcome.verdict])
        if as_json:
            print_json(_object(outcome, apply))
        elif outcome.verdict is not Verdict.KEPT:
            typer.echo(_sentence(outcome, apply))

    accepted = "all" if accept else ""
    with audited(settings, "tenants expire", worth=apply, accept=accepted) as note:
        try:
            uvloop.run(run.expire(settings, rules, tell, apply=apply, accept=accept))
        except ExpiryBraked as braked:
            if as_json:
                print_json({"stopped": because(braked), "applied": False})
            raise
        if failed:
            raise typer.Exit(1)


def _rules(
    unseen_for: str | None, exist: str | None, grace: str, only: list[str], keep: list[str]
) -> Rules:
    if not unseen_for and not exist:
        raise InvalidArgument(
            "give --unseen-for AGE, --existing SOURCE, or both, to say which tenants are gone"
        )
    pause = seconds("--grace", grace)
    if pause < LEAST_GRACE:
        raise InvalidArgument(
            f"--grace {grace} is unsafe: it must be {LEAST_GRACE / UNITS['h']:g}h at least, "
            "because frontends record only from time to time that a tenant uses them"
        )
    return Rules(
        grace=pause,
        unseen_for=seconds("--unseen-for", unseen_for) if unseen_for else None,
        existing=existing(exist) if exist else None,
        only=tuple(only),
        keep=tuple(keep),
    )


def seconds(option: str, text: str) -> float:
    """Parses a time such as `30d`, and returns it in s.

    Raises:
        InvalidArgument: the text isn't a time.
    """
    found = re.fullmatch(r"(\d{1,9})([smhd])", text, re.ASCII)
    if not found or not int(found[1]):
        raise InvalidArgument(f"{option} {shorten(text)} isn't a time; use 30d, 12h, 90m or 600s")
    return float(int(found[1]) * UNITS[found[2]])


def _line(summary: Summary, quota: Quota) -> str:
    unread = [f"{summary.unread} unread"] if summary.unread else []
    bytes_held = "" if summary.bytes is None else size(summary.bytes)
    since = summary.missing_since
    missing = [f"missing since {moment(since)}"] if since else []
    notes = ", ".join([*_shares(summary, quota), *missing, *unread])
    line = LINE.format(summary.tenant, summary.digests, bytes_held, _when(summary.seen_at), notes)
    return line.rstrip()


def _shares(summary: Summary, quota: Quota) -> list[str]:
    """Returns how much of its quota a tenant uses."""
    shares = []
    if quota.holds is not None:
        shares.append(f"{100 * summary.digests // quota.holds} % of {quota.holds} digests")
    if quota.bytes is not None and summary.bytes is not None:
        shares.append(f"{100 * summary.bytes // quota.bytes} % of {size(quota.bytes)}")
    return shares


def _sentence(outcome: ExpiryOutcome, applied: bool) -> str:
    says = SAYS[outcome.verdict][applied]
    due = f", to be dropped from {moment(outcome.due_at)} on" if outcome.due_at else ""
    why = f": {outcome.why}" if outcome.why else ""
    return f"{outcome.tenant}: {says}{due}{why} (last seen: {_when(outcome.seen_at)})"


def _object(outcome: ExpiryOutcome, applied: bool) -> dict[str, Any]:
    return {
        "tenant": outcome.tenant,
        "verdict": outcome.verdict.value,
        "applied": applied,
        "seen_at": outcome.seen_at,
        "due_at": outcome.due_at,
        "why": outcome.why,
    }


def _when(at: float | None) -> str:
    return "never" if at is None else moment(at)
