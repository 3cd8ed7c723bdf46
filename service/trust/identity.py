"""Who asks: a tenant, a role, and the rule that says so.

| role | what it may do |
| --- | --- |
| `node` | all RPCs but Overview, on its own tenant |
| `reader` | what changes no content: Info, List, Read, Blocks, Status, ListStatuses, Flights |
| `operator` | what concerns the fleet: Flights, Warm, Overview; it is no tenant |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from holdfast.errors import PermissionDenied


class Role(StrEnum):
    """What a client may do, by the name that rules use."""

    NODE = "node"
    READER = "reader"
    OPERATOR = "operator"


_READS: Final = frozenset({"Info", "List", "Read", "Blocks", "Status", "ListStatuses"})
_WRITES: Final = frozenset({"Write", "Update", "Delete", "Abort"})
_FLEET: Final = frozenset({"Flights", "Warm"})
GRANTS: Final[Mapping[Role, frozenset[str]]] = {
    Role.NODE: _READS | _WRITES | _FLEET,
    Role.READER: _READS | {"Flights"},
    Role.OPERATOR: _FLEET | {"Overview"},
}
"""The RPCs of each role."""


@dataclass(frozen=True, slots=True)
class ClientIdentity:
    """A client that is known.

    Attributes:
        tenant: whose content it asks for; "" for an operator.
        role: what it may do.
        rule: the name of the rule that matched.
        subject: what the client is called where the rule found it: in its certificate or its
            token, by its user id, or by its header.
    """

    tenant: str
    role: Role
    rule: str
    subject: str

    def check(self, rpc: str) -> None:
        """Refuses an RPC that the role isn't granted.

        Raises:
            PermissionDenied: the text names the role, and the roles that would do.
        """
        if rpc not in GRANTS[self.role]:
            needed = " or ".join(role for role, granted in GRANTS.items() if rpc in granted)
            raise PermissionDenied(
                f"{rpc} needs the role {needed}, and rule {self.rule!r} gives this client the "
                f"role {self.role}"
            )
