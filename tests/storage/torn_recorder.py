"""Recording file operations: the functions of `os` that the program calls, wrapped."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest

from tests.storage.torn_disk import Data, Log, Node, Sync


def _site(path: Path, root: Path) -> str:
    """The function that asked for a sync, and of what."""
    frame: FrameType | None = sys._getframe(1)
    names: list[str] = []
    while frame is not None and not names:
        code = frame.f_code
        if "/tests/" not in code.co_filename and code.co_name not in {"sync_folder", "sync_above"}:
            names.append(code.co_name)
        frame = frame.f_back
    below = path.relative_to(root).parts if path.is_relative_to(root) else None
    if below is None:
        what = "above the root"
    elif len(below) <= 1:
        what = below[0] if below else "root"
    else:
        what = f"below {below[0]}"
    return f"{names[0]}: {what}"


@contextmanager
def recorded(log: Log) -> Iterator[Log]:
    """Records the file operations of this thread below `log.top`."""
    thread, real = threading.get_ident(), {name: getattr(os, name) for name in _RECORDERS}
    with pytest.MonkeyPatch.context() as patch:
        for name, recorder in _RECORDERS.items():

            def wrapped(
                *args: Any,
                _call: Callable[..., Any] = real[name],
                _record: Callable[..., Any] = recorder,
                **options: Any,
            ) -> Any:
                if threading.get_ident() != thread:
                    return _call(*args, **options)
                return _record(log, _call, *args, **options)

            patch.setattr(os, name, wrapped)
        yield log


def _absolute(log: Log, path: Any, dir_fd: int | None = None) -> Path | None:
    """A path below the folder that is watched, or None."""
    text = os.fspath(path)
    if dir_fd is not None:
        text = f"{Path(f'/proc/self/fd/{dir_fd}').readlink()}/{text}"
    return Path(text) if Path(text).is_relative_to(log.top) else None


def _opened(
    log: Log, call: Callable[..., int], path: Any, flags: int, *args: Any, **options: Any
) -> int:
    found = _absolute(log, path, options.get("dir_fd"))
    if found is None:
        return call(path, flags, *args, **options)
    assert not flags & os.O_TRUNC, "nothing here truncates; teach the recorder"
    made = bool(flags & os.O_CREAT) and log.find(found) is None
    if made:
        log.may_go_on()
    descriptor = call(path, flags, *args, **options)
    if made:
        node = Node()
        log.change(node, (found, node))
    known = log.find(found)
    if known is not None:
        log._open[descriptor] = known
    return descriptor


def _closed(log: Log, call: Callable[..., None], descriptor: int) -> None:
    log._open.pop(descriptor, None)
    call(descriptor)


def _wrote(log: Log, call: Callable[..., int], descriptor: int, data: bytes) -> int:
    if descriptor not in log._open:
        return call(descriptor, data)
    log.may_go_on()
    count = call(descriptor, data)
    log.operations.append(Data(log._open[descriptor], bytes(data[:count])))
    return count


def _synced(log: Log, call: Callable[..., None], descriptor: int) -> None:
    del call  # the real disk needn't
    if descriptor in log._open:
        log.may_go_on()
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        log.operations.append(Sync(log._open[descriptor], _site(path, log.top / "store")))


def _made(log: Log, call: Callable[..., None], path: Any, *args: Any, **options: Any) -> None:
    found = _absolute(log, path, options.get("dir_fd"))
    if found is None:
        call(path, *args, **options)
        return
    log.may_go_on()
    call(path, *args, **options)
    node = Node(entries={})
    log.change(node, (found, node))


def _renamed(log: Log, call: Callable[..., None], source: Any, target: Any) -> None:
    old, new = _absolute(log, source), _absolute(log, target)
    if old is None or new is None:
        call(source, target)
        return
    log.may_go_on()
    call(source, target)
    node = log.find(old)
    assert node is not None
    log.change(node, (old, None), (new, node))


def _linked(log: Log, call: Callable[..., None], source: Any, target: Any) -> None:
    old, new = _absolute(log, source), _absolute(log, target)
    if old is None or new is None:
        call(source, target)
        return
    log.may_go_on()
    call(source, target)
    node = log.find(old)
    assert node is not None
    log.change(node, (new, node))


def _removed(log: Log, call: Callable[..., None], path: Any, **options: Any) -> None:
    found = _absolute(log, path, options.get("dir_fd"))
    if found is None:
        call(path, **options)
        return
    log.may_go_on()
    call(path, **options)
    node = log.find(found)
    assert node is not None
    log.change(node, (found, None))


_RECORDERS: Final[dict[str, Callable[..., Any]]] = {
    "open": _opened,
    "close": _closed,
    "write": _wrote,
    "fsync": _synced,
    "mkdir": _made,
    "rename": _renamed,
    "link": _linked,
    "unlink": _removed,
    "remove": _removed,
    "rmdir": _removed,
}
