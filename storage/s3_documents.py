"""The documents in S3's answers, read strictly.

botocore takes each word but "true" for false. A listing whose page says "trve" would then end
there, as if there were no more.
"""

from __future__ import annotations

from typing import Any

import boto3
from botocore.parsers import ResponseParser, ResponseParserFactory, RestXMLParser

from holdfast.errors import shorten

_BOOLEANS = {"true": True, "false": False}


class _Strict(RestXMLParser):
    def _handle_boolean(self, shape: Any, node: Any) -> bool:  # noqa: ANN401 -- botocore's own
        del shape
        text = node if isinstance(node, str) else node.text or ""
        try:
            return _BOOLEANS[text.strip().lower()]
        except KeyError:
            raise ValueError(f"{shorten(text)} is neither true nor false") from None


class _StrictParsers(ResponseParserFactory):
    def create_parser(self, protocol_name: Any) -> ResponseParser:  # noqa: ANN401 -- the same
        return _Strict() if protocol_name == "rest-xml" else super().create_parser(protocol_name)


def read_strictly(session: boto3.session.Session) -> None:
    """Makes the clients that a session will create read documents strictly."""
    session._session.register_component("response_parser_factory", _StrictParsers())  # noqa: SLF001 -- boto3 has no other way
