"""Makes settings command-line options, so that there is one list for both."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_origin

import typer

from holdfast.service.commands import setting_texts
from holdfast.service.settings import Settings


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Adds an option for every setting to a command, which keeps its own options.

    The command receives the settings that were given as the mapping `options`. A setting that
    wasn't given is None, so that the environment or the default decides.
    """
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(command, eval_str=True).parameters.items()
        if name != "options"
    ]
    names = [parameter.name for parameter in own]

    @functools.wraps(command)
    def run(**given: Any) -> None:  # noqa: ANN401 -- as typer gives them
        mine = {name: given.pop(name) for name in names}
        command(options=given, **mine)

    signature = inspect.Signature(_parameters() + own)
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    return run


def _parameters() -> list[inspect.Parameter]:
    return [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(name)
        )
        for name in Settings.model_fields
    ]


def _annotation(name: str) -> object:
    field = Settings.model_fields[name]
    kind, default = setting_texts.kind(field), setting_texts.default(field)
    told = f"{kind}; default {default}".replace("`", "")
    option = typer.Option(
        f"--{name.replace('_', '-')}",
        help=f"{field.description} ({told}) [HOLDFAST_{name.upper()}]",
        metavar=setting_texts.metavar(field),
        show_default=False,
        rich_help_panel="Settings",
    )
    if get_origin(field.annotation) is list:
        return Annotated[list[str] | None, option]
    if field.annotation is bool:
        return Annotated[bool | None, option]
    return Annotated[str | None, option]
