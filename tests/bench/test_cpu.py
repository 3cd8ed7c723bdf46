"""CPU by program, as the kernel counts it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from bench import cpu
from bench.cpu import Cpu, Meter, Process
from tests.servers.process import wait_until

BUSY = "import sys\nwhile True: pass  # {name}"


def test_a_name_may_hold_brackets() -> None:
    """A process's line is read by its last bracket, whatever its name is."""
    fields = " ".join(str(number) for number in range(3, 50))
    text = f"7 (a) b (c)) S 5 {fields}"
    read = Process.parse(text)
    assert (read.name, read.parent) == ("a) b (c)", 5)
    assert read.cpu == Cpu(12 / cpu.TICKS, 13 / cpu.TICKS)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("/venv/bin/python -m holdfast.cli serve", "frontend"),
        ("/venv/bin/python -m holdfast.cli agent", "agent"),
        ("/bin/minio server --quiet /data", "MinIO"),
        ("redis-server 127.0.0.1:6379", "Redis"),
        ("/usr/bin/py-spy record --pid 7", ""),
    ],
)
def test_programs_are_known_by_their_command_lines(command: str, name: str) -> None:
    """What is watched is named, and what isn't counts for nobody."""
    assert cpu.role(command) == name


def test_a_program_that_runs_is_counted() -> None:
    """A child's CPU is counted under its role while it runs, and under no other."""
    meter = Meter()
    # Neither runs in any test; frontends, Redis and MinIO may, as other tests' fixtures.
    with subprocess.Popen([sys.executable, "-c", BUSY.format(name="registry serve")]) as child:
        try:
            wait_until(lambda: meter.used().get("registry", Cpu()).total > 0, "CPU of the child")
            assert "empty server" not in meter.used()
        finally:
            child.kill()


def test_a_program_that_has_ended_is_the_client_s() -> None:
    """CPU of a child that began and ended meanwhile is the client's."""
    meter = Meter()
    subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
    assert meter.used()[cpu.CLIENT].total > 0


def test_threads_are_told_apart() -> None:
    """Every thread of a process is found by the number that the kernel gave it."""
    leave = threading.Event()
    other = threading.Thread(target=leave.wait)
    other.start()
    try:
        assert {other.native_id, threading.get_native_id()} <= set(cpu.threads(os.getpid()))
    finally:
        leave.set()
        other.join()


def test_a_unit_s_share() -> None:
    """CPU is told in milliseconds per unit of work, the largest share first."""
    used = {"MinIO": Cpu(0.5, 0.5), "frontend": Cpu(2.0, 1.0)}
    assert cpu.per_unit(used, 1000) == {"frontend": 3.0, "MinIO": 1.0}
    assert list(cpu.per_unit(used, 1000)) == ["frontend", "MinIO"]
