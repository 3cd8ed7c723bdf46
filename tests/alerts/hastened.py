"""`holdfast` with pauses as much shorter as the alerts' waits are in these tests."""

from __future__ import annotations

from holdfast.cli.app import main
from holdfast.service.reading import disk_cache
from holdfast.service.store import run_reports


def hasten() -> None:
    """Reports are read once a second, and a failed disk is tried again after one."""
    for module, name in ((run_reports, "PERIOD"), (disk_cache, "REST")):
        assert hasattr(module, name)
        setattr(module, name, 1.0)


if __name__ == "__main__":
    hasten()
    main()
