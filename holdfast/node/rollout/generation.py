"""A generation: a program, the settings that it runs with, and its unit, in one folder.

So a link that leads to another folder changes all of them at once, and back.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from holdfast.errors import InvalidArgument, shorten
from holdfast.node.rollout.layout import (
    AGENT_UNIT,
    GUARD_UNIT,
    IMAGES_UNIT,
    RENEWED_PATH,
    RENEWED_UNIT,
    STATE,
    Layout,
)
from holdfast.node.unit import unit

PROGRAM: Final = "holdfast"
SETTINGS: Final = "node.env"
ISSUERS: Final = "ca.crt"
_LISTEN: Final = "HOLDFAST_LISTEN"
_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]*")
_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_CERTIFICATE: Final = re.compile(
    r"(?m)^(?:# By these frontends know.*\n# the files are.*\n|LoadCredential=.*\n"
    r"|Environment=HOLDFAST_AGENT_TLS_.*\n)"
)
_RENEWED_SERVICE: Final = f"""\
# Systemd copies the certificate when the agent starts, so a renewed one needs another start.
[Unit]
Description=Restart of the Holdfast agent with a renewed certificate

[Service]
Type=oneshot
ExecStart=systemctl try-restart {AGENT_UNIT}
"""
_RENEWED_PATH: Final = f"""\
[Unit]
Description=Renewal of the Holdfast agent's certificate

[Path]
PathChanged={{certificate}}

[Install]
WantedBy={AGENT_UNIT}
"""
_IMAGES: Final = """\
# When containerd starts while its content can't be read, the kubelet finds no images until
# containerd starts once more. This waits until the content can be read, and has that done.
[Unit]
Description=Images that containerd has missed while its content was away
After={unit} holdfast.service
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={program} node mend-images
Restart=on-failure
RestartSec=10

[Install]
WantedBy={unit}
"""
_GUARD: Final = """\
# An upgrade starts this. If the new agent doesn't serve, the one before it does again, even if
# whoever upgrades has ended: without content, no pod can be started to see to it.
[Unit]
Description=Guard of an upgrade of the Holdfast agent
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={program} node guard
# It fails if another try is under way by then, which it guards as well.
Restart=on-failure
RestartSec=10
"""
_DROP_IN: Final = """\
# Written by `holdfast node install`; `holdfast node remove` removes it.
[Unit]
Wants=holdfast.service
After=holdfast.service

[Service]
# Has the configuration agree with {state}/node.json, even if something else has
# rewritten it, and copies content while the node moves. containerd starts even if this fails, and
# it ends itself before the time is up: without that, systemd would try again without end.
ExecStartPre=-{program} node prepare-containerd
TimeoutStartSec=300
"""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the node shows, and whom it trusts.

    Attributes:
        certificate: a file of the host.
        key: a file of the host; it may be the same.
        issuers: those of the frontends' certificates, in PEM.
    """

    certificate: str
    key: str
    issuers: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What shall serve the node.

    Attributes:
        bundle: a folder with the program and all it needs, as `make bundle` makes it.
        version: of the program.
        node: the node's name, which is its tenant's.
        settings: the agent's, by their names: HOLDFAST_….
        certificate: None if frontends don't ask for one.
        attempt: another number is another generation, to try again what was given up.
    """

    bundle: Path
    version: str
    node: str
    settings: Mapping[str, str]
    certificate: Certificate | None = None
    attempt: int = 0

    def __post_init__(self) -> None:
        """Checks what would end up in files of systemd.

        Raises:
            InvalidArgument: a name or a value can't be written there.
        """
        if not _TENANT.fullmatch(self.node):
            raise InvalidArgument(f"node {shorten(self.node)} is no name of a tenant")
        for name, value in self.settings.items():
            if not _NAME.fullmatch(name) or not value.isprintable() or set(value) & set("\"'\\"):
                raise InvalidArgument(
                    f"setting {shorten(name)}: a value is one line without quotes and backslashes"
                )
        if _LISTEN in self.settings:
            raise InvalidArgument(f"{_LISTEN} follows from the node's name; leave it out")

    def environment(self, layout: Layout) -> str:
        """The file of settings."""
        listen = f"unix://{layout.socket}?tenant={self.node}"
        settings = {_LISTEN: listen, **self.settings}
        return "".join(f"{name}={value}\n" for name, value in sorted(settings.items()))

    def files(self, layout: Layout) -> dict[str, str]:
        """What a generation has next to the program, by names."""
        made = {
            SETTINGS: self.environment(layout),
            AGENT_UNIT: self._agent(layout),
            IMAGES_UNIT: _IMAGES.format(
                unit=layout.containerd.unit, program=f"{layout.verified}/{PROGRAM}"
            ),
        }
        made[GUARD_UNIT] = _GUARD.format(program=f"{layout.verified}/{PROGRAM}")
        if self.certificate is not None:
            made[ISSUERS] = self.certificate.issuers
            made[RENEWED_UNIT] = _RENEWED_SERVICE
            made[RENEWED_PATH] = _RENEWED_PATH.format(certificate=self.certificate.certificate)
        return made

    def _agent(self, layout: Layout) -> str:
        text = unit(f"{layout.current}/{PROGRAM}").replace(
            "/etc/holdfast/node.env", f"{layout.current}/{SETTINGS}"
        )
        text = text.replace("containerd.service", layout.containerd.unit)
        if self.certificate is None:
            return _CERTIFICATE.sub("", text)
        for file, where in (
            ("tls.crt", self.certificate.certificate),
            ("tls.key", self.certificate.key),
            ("ca.crt", f"{layout.current}/{ISSUERS}"),
        ):
            text = text.replace(
                f"LoadCredential={file}:/etc/holdfast/tls/{file}", f"LoadCredential={file}:{where}"
            )
        return text

    def generation(self, layout: Layout) -> str:
        """The name of the folder: other bytes or other settings have another one."""
        running = hashlib.sha256(b"%d\0" % self.attempt)
        for path in sorted(self.bundle.rglob("*")):
            if path.is_file():
                name, body = str(path.relative_to(self.bundle)).encode(), path.read_bytes()
                running.update(b"%d %d %b%b" % (len(name), len(body), name, body))
        for file, text in sorted(self.files(layout).items()):
            running.update(f"{file}\0{text}\0".encode())
        return f"{self.version}-{running.hexdigest()[:12]}"


def drop_in(layout: Layout) -> str:
    """What containerd's unit has in addition."""
    return _DROP_IN.format(program=f"{layout.verified}/{PROGRAM}", state=STATE)
