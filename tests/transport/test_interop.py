"""The gRPC project's interop client, by grpc-go, is content with what we serve.

Left out are the cases that need Google's infrastructure (credentials, load reports, server ids).
Cases with compressed messages don't exist in this client; we refuse such messages.
"""

from __future__ import annotations

import pytest

from .programs import folder, run


@pytest.mark.parametrize(
    "case",
    [
        "empty_unary",
        "large_unary",
        "client_streaming",
        "server_streaming",
        "ping_pong",
        "empty_stream",
        "timeout_on_sleeping_server",
        "cancel_after_begin",
        "cancel_after_first_response",
        "status_code_and_message",
        "special_status_message",
        "custom_metadata",
        "unimplemented_method",
        "unimplemented_service",
        "rpc_soak",
        "channel_soak",
    ],
)
def test_a_case(port: int, case: str) -> None:
    """Each of the interop client's cases ends well."""
    program = folder("go") / "client"
    done = run(
        str(program), "--server_host=127.0.0.1", f"--server_port={port}", f"--test_case={case}"
    )
    assert done.returncode == 0, done.stderr
