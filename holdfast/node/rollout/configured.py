"""containerd's files: with Holdfast as its content store, or as they were.

containerd's own file gets one import more; all else is in a file of ours. Both changes are text in
and text out, and what comes out is parsed and compared with what it should say.
"""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from typing import Any, Final

from holdfast.errors import FailedPrecondition
from holdfast.node.containerd import config, config_version, conflicts, parse
from holdfast.node.rollout.disk import Disk
from holdfast.node.rollout.layout import Layout

MADE: Final = "# Written by `holdfast node`, where there was no file; removed with it.\n"
_LINE: Final = "imports = [{}]  # added by `holdfast node`\n"
_IMPORTS: Final = re.compile(r"(?m)^[ \t]*imports[ \t]*=[ \t]*\[")


def check(layout: Layout, version: str) -> None:
    """Passes if containerd's files can be given another content store, and back.

    Raises:
        FailedPrecondition: they name another one, or can't be edited.
        InvalidArgument: this containerd isn't known, or it can't read the file.
    """
    text = _text(layout)
    if text is not None:
        found = list(conflicts(parse(text)))
        if found:
            raise FailedPrecondition(f"{layout.containerd.config}: " + "; ".join(found))
        with_import(text, layout.imported)
    if layout.containerd.part and not _imports_part(layout, text):
        raise FailedPrecondition(
            f"{layout.containerd.config} doesn't import {layout.containerd.part}"
        )
    _part(layout, version)


def configure(layout: Layout, disk: Disk, version: str) -> bool:
    """Makes Holdfast the content store from containerd's next start on; returns whether it wasn't.

    Raises:
        FailedPrecondition: a file can't be edited.
        InvalidArgument: this containerd isn't known, or it can't read the file.
    """
    _clear(layout, disk)
    part = _part(layout, version)
    text = _text(layout)
    # The import names a pattern, so the order is of no matter to a containerd that starts between.
    changed = disk.write(layout.part, part)
    if layout.containerd.part:
        return changed
    wanted = (
        MADE + f"version = {parse(part)['version']}\nimports = [{json.dumps(layout.imported)}]\n"
        if text is None
        else with_import(text, layout.imported)
    )
    return disk.write(layout.config, wanted) or changed


def restore(layout: Layout, disk: Disk) -> bool:
    """Makes its own store containerd's from its next start on; returns whether it wasn't.

    Raises:
        FailedPrecondition: the file can't be edited.
        InvalidArgument: the file isn't TOML.
    """
    _clear(layout, disk)
    changed = disk.remove(layout.part)
    if layout.containerd.part:
        return changed
    disk.remove_empty(layout.part.parent)
    text = _text(layout)
    if text is None:
        return changed
    if text.startswith(MADE):
        return disk.remove(layout.config) or changed
    return disk.write(layout.config, without_import(text, layout.imported)) or changed


def configured(layout: Layout) -> bool:
    """Whether containerd would start with Holdfast."""
    text = _text(layout)
    imported = bool(layout.containerd.part) or (
        text is not None and layout.imported in _imports(text)
    )
    return imported and layout.part.is_file()


def _clear(layout: Layout, disk: Disk) -> None:
    for path in (layout.part, layout.config):
        disk.clear(path)


def _imports_part(layout: Layout, text: str | None) -> bool:
    """Whether containerd reads the file that was named for Holdfast's part."""
    found = [] if text is None else _imports(text)
    return any(fnmatchcase(layout.containerd.part, str(pattern)) for pattern in found)


def with_import(text: str, pattern: str) -> str:
    """Adds an import to a config.toml, unless it has it.

    Raises:
        FailedPrecondition: its text can't be edited safely.
        InvalidArgument: it isn't TOML.
    """
    before = _imports(text)
    if pattern in before:
        return text
    quoted = json.dumps(pattern)
    if "imports" in parse(text):
        comma = ", " if before else ""
        edited = _IMPORTS.sub(lambda found: f"{found[0]}{quoted}{comma}", text, count=1)
    else:
        edited = _LINE.format(quoted) + text
    return _checked(edited, {**parse(text), "imports": [pattern, *before]})


def without_import(text: str, pattern: str) -> str:
    """Removes an import from a config.toml, if it has it; the opposite of `with_import`.

    Raises:
        FailedPrecondition: its text can't be edited safely.
        InvalidArgument: it isn't TOML.
    """
    before = _imports(text)
    if pattern not in before:
        return text
    quoted = json.dumps(pattern)
    left = [name for name in before if name != pattern]
    edited = text.removeprefix(_LINE.format(quoted))
    wanted: dict[str, Any] = {
        name: value for name, value in parse(text).items() if name != "imports"
    }
    if edited == text:
        wanted["imports"] = left
        edited = re.sub(re.escape(quoted) + r"[ \t]*,?[ \t]*", "", text, count=1)
    return _checked(edited, wanted)


def _checked(edited: str, wanted: dict[str, Any]) -> str:
    try:
        right = parse(edited) == wanted
    except ValueError:
        right = False
    if not right:
        raise FailedPrecondition(
            "the imports in containerd's file can't be edited; write them as imports = [ … ] "
            "at its top, each name in double quotes"
        )
    return edited


def _imports(text: str) -> list[str]:
    found = parse(text).get("imports", [])
    return found if isinstance(found, list) else []


def _part(layout: Layout, version: str) -> str:
    text = _text(layout)
    existing = None if text is None or text.startswith(MADE) else parse(text)
    return config(config_version(version, existing), layout.socket)


def _text(layout: Layout) -> str | None:
    try:
        return layout.config.read_text("utf-8")
    except FileNotFoundError:
        return None
