"""What clients may cost: each bound with its unit and its reason."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 2**10
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of a server, of each connection and of each stream."""

    max_message: int = 16 * MIB
    """Bytes of a message in either direction: containerd's own limit."""
    max_waiting_requests: int = 16 * MIB
    """Bytes of half-received requests of RPCs that have just one, of all clients together: one of
    the largest. Such a request is announced in five bytes, and its memory is the server's."""
    max_connections: int = 20_000
    """Connections; each costs up to 16 KiB when idle, and a file descriptor."""
    max_streams: int = 1_000
    """Streams of one connection: SETTINGS_MAX_CONCURRENT_STREAMS. Clients queue what is beyond."""
    max_header_list: int = 16 * KIB
    """Bytes of a request's fields, by HPACK's count: gRPC's usual hard limit."""
    first_window: int = 16 * KIB
    """Bytes that a client may send on any stream before anybody asks for them. SETTINGS promise
    them for as many streams as clients open, so they are few: one frame of the usual size."""
    stream_window: int = 64 * KIB
    """Bytes that it may send unasked on a stream with messages in both directions, while there is
    enough of `windows`: more of them are under way at once."""
    windows: int = 16 * MIB
    """Bytes by which `stream_window` may exceed `first_window` on all streams together: enough for
    some 340 of them. Further streams keep their first window."""
    connection_window: int = 16 * MIB
    """Bytes that a client may send on all its streams ahead of the server's reading. They are
    credited when they arrive, so that a stream that nobody reads from stops no other; what stays in
    memory is bounded by the streams' windows."""
    handshake: float = 10.0
    """Seconds until TLS, the preface and the first SETTINGS must have arrived."""
    header_block: float = 10.0
    """Seconds until the rest of a frame or a header block that has begun must have arrived."""
    keepalive: float = 30.0
    """Seconds without a byte after which the client is asked whether it is there: below the
    shortest timeouts of balancers and NAT."""
    keepalive_timeout: float = 20.0
    """Seconds until it must have answered."""
    settings_timeout: float = 30.0
    """Seconds until it must have acknowledged the first SETTINGS."""
    stalled: float = 600.0
    """Seconds without a byte of a message that waits for its client, in either direction, after
    which the call ends: longer than nodes' disks hang, and than an operator looks for why. A slow
    client that moves is never affected, and neither is a stream without a message under way."""
    round_trip: float = 2.0
    """Seconds that a drain waits until a client has seen the first GOAWAY."""
    idle: float = 3600.0
    """Seconds without a stream after which a connection is closed, so that forgotten ones go."""
    age: float = float("inf")
    """Seconds after which a connection is closed once its streams have ended, so that clients
    spread over new servers."""
    age_grace: float = 600.0
    """Seconds that its streams have then."""
    jitter: float = 0.1
    """Share by which `age` and `idle` vary, so that clients don't all return at once."""
    resets: int = 1_000
    """Streams that a client may reset in a burst, and … """
    resets_per_second: float = 100.0
    """… per second in the long run. Honest clients reset what they have cancelled."""
    pings: int = 100
    """PINGs in a burst; sending data allows new ones, because clients measure with them."""
    pings_per_second: float = 1.0
    """PINGs per second in the long run."""
    settings: int = 100
    """SETTINGS in a burst: clients that measure their line change them."""
    settings_per_second: float = 2.0
    """SETTINGS per second in the long run."""
    useless: int = 2_000
    """Frames in a burst that bring nothing: PRIORITY, unknown ones, DATA and CONTINUATION without
    bytes, frames of streams that have ended, window updates beyond what was sent."""
    useless_per_second: float = 200.0
    """Such frames per second in the long run."""
    write_buffer: int = MIB
    """Bytes of frames other than DATA that wait because the client doesn't read; then it is
    disconnected."""
    farewell: float = 1.0
    """Seconds between the last GOAWAY and closing a connection, so that GOAWAY and answers arrive;
    gRPC's clients close it before."""
