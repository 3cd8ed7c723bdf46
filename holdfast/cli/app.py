"""The command line as a whole: its commands, its global options, its exit codes."""

from __future__ import annotations

import sys
import traceback
from importlib.metadata import EntryPoint, entry_points, version
from typing import Annotated, Any, Final

import typer
import typer.core
import typer.main

from holdfast.cli import (
    checking,
    content,
    demo,
    ingests,
    node,
    rollout,
    top,
    transfers,
    warming,
)
from holdfast.cli.exit_codes import ERROR, INTERRUPTED, exit_code
from holdfast.cli.options import (
    Address,
    Ca,
    Cert,
    Key,
    RetryFor,
    ServerName,
    Target,
    Tenant,
    TenantHeader,
    TokenPath,
    UseTls,
)
from holdfast.errors import ConfigurationError, HoldfastError, because, reported

JOINING: Final = "holdfast.commands"
"""Entry points of commands that need more than the client."""


class Commands(typer.core.TyperGroup):
    """Our commands, those added by entry points, and one place for all errors."""

    # click is an internal of typer's, so its classes aren't named here.

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401
        """The commands' names, in order."""
        joining = sorted(entry_points(group=JOINING), key=lambda entry: entry.name)
        there = [entry.name for entry in joining if _loaded(entry) is not None]
        return [*super().list_commands(ctx), *there]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401
        """A command; one from an entry point is loaded on first use."""
        for joining in entry_points(group=JOINING, name=cmd_name):
            loaded = _loaded(joining)
            if loaded is None:
                raise ConfigurationError(
                    f"`holdfast {cmd_name}` needs packages that the client doesn't: "
                    f"pip install 'holdfast[{','.join(joining.extras)}]'"
                )
            if isinstance(loaded, typer.Typer):
                return typer.main.get_command(loaded)
            alone = typer.Typer(add_completion=False)
            alone.command(cmd_name)(loaded)
            return typer.main.get_command(alone)
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401
        """Runs a command; an error becomes one line and an exit code."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            # typer's own ways to exit, and a closed pipe.
            if isinstance(error, typer.Abort | BrokenPipeError) or hasattr(error, "exit_code"):
                raise
            if ctx.params.get("verbose"):
                traceback.print_exc()
            typer.echo(f"holdfast: {_line(error)}", err=True)
            raise typer.Exit(exit_code(error)) from None


def _loaded(joining: EntryPoint) -> Any:  # noqa: ANN401 -- a function, or an application of typer's
    """What an entry point names; None if packages that it needs aren't installed."""
    try:
        return joining.load()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "holdfast":
            raise
        return None


def _line(error: Exception) -> str:
    """The line that reports an error; an unexpected error is named as such."""
    if isinstance(error, HoldfastError):
        return reported(error)
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, OSError):
        return because(error)
    return f"a bug: {type(error).__name__}: {because(error)}; --verbose shows where"


app = typer.Typer(
    cls=Commands,
    name="holdfast",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A content store for a fleet: its client, and its frontends.",
    epilog=(
        "Exit codes: 0 done, 1 error, 2 usage, 3 not found, 4 unavailable, 5 data loss, "
        "130 interrupted."
    ),
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("holdfast"))
        raise typer.Exit


@app.callback()
def settings(
    context: typer.Context,
    *,
    address: Address = None,
    tenant: Tenant = None,
    retry_for: RetryFor = None,
    tls: UseTls = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    server_name: ServerName = None,
    token_file: TokenPath = None,
    tenant_header: TenantHeader = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show the traceback of an error.")
    ] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Takes the options that come before the command."""
    del verbose  # Commands.invoke reads it
    context.obj = Target(
        address, tenant, retry_for, tls, ca, cert, key, server_name, token_file, tenant_header
    )


app.command("push")(transfers.push)
app.command("pull")(transfers.pull)
app.command("ls")(content.ls)
app.command("info")(content.info)
app.command("label")(content.label)
app.command("rm")(content.rm)
app.command("warm")(warming.warm)
app.command("check")(checking.check)
app.command("active")(ingests.active)
app.command("status")(ingests.status)
app.command("abort")(ingests.abort)
app.command("demo")(demo.demo)
app.command("top")(top.top)
app.command("node-config")(node.node_config)
app.add_typer(rollout.app, name="node")


def main() -> None:
    """Runs the command line and exits."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.exit(ERROR)
