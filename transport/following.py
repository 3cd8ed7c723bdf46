"""Follows calls from their beginning to their end, for logs, figures and traces."""

from __future__ import annotations

from typing import Any, Final, Protocol

from holdfast.transport.peers import Peer
from holdfast.transport.status import Code, Metadata, Status

LEFT: Final = Status(Code.CANCELLED, "the client has left")
"""How a call ends whose stream was reset, or whose connection is gone."""


class FollowedCall(Protocol):
    """What a follower sees of a call.

    Attributes:
        attachment: what the follower keeps with the call; None before it has set it.
    """

    attachment: Any

    @property
    def path(self) -> str:
        """The RPC, as `/package.Service/Method`."""
        ...

    @property
    def metadata(self) -> Metadata:
        """What the client sent with the call."""
        ...

    @property
    def peer(self) -> Peer:
        """The client."""
        ...

    @property
    def request(self) -> bytes | None:
        """The client's only message, once it has arrived; None if it may send several."""
        ...

    @property
    def received(self) -> int:
        """Bytes of the client's messages that were taken."""
        ...

    @property
    def sent_bytes(self) -> int:
        """Bytes of the messages that the client was sent."""
        ...


class Follower(Protocol):
    """Is told of each call that a handler exists for; it must be quick, and must not raise."""

    def begins(self, call: FollowedCall) -> None:
        """A call has begun: its request may still be on its way."""

    def enters(self, call: FollowedCall) -> None:
        """Its handler begins, in the task that calls this; not if it is answered at once."""

    def ends(self, call: FollowedCall, status: Status | None) -> Metadata:
        """A call has ended, whatever ended it; each ends once, with OK if there is no status.

        Returns:
            What is added to the trailers of a failure.
        """


class Unfollowed:
    """Follows nothing."""

    def begins(self, call: FollowedCall) -> None:
        """See `Follower`."""

    def enters(self, call: FollowedCall) -> None:
        """See `Follower`."""

    def ends(self, call: FollowedCall, status: Status | None) -> Metadata:
        """See `Follower`."""
        del call, status
        return ()


UNFOLLOWED: Final = Unfollowed()
