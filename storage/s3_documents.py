"""The documents in S3's answers, read strictly: by ourselves, and by boto3.

botocore takes each word but "true" for false. A listing whose page says "trve" would then end
there, as if there were no more. And it needs twenty times as long for a page of a thousand objects.

Source: "ListObjectsV2", "ListParts", "CreateMultipartUpload", Amazon S3 API reference.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from xml.etree import ElementTree as ET

import boto3
from botocore.parsers import ResponseParser, ResponseParserFactory, RestXMLParser
from botocore.utils import parse_timestamp

from holdfast.errors import shorten
from holdfast.storage.s3_strangers import NotS3

LARGE: Final = 64 * 1024
"""Bytes of a document that is read in a thread: it takes a millisecond or more."""
_BOOLEANS: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Document:
    """A document: its fields, and the fields of the items in it."""

    fields: Mapping[str, str]
    items: Sequence[Mapping[str, str]]

    @classmethod
    def read(cls, body: bytes, name: str, item: str = "") -> Document:
        """Reads a document.

        Args:
            body: its bytes.
            name: that it must have.
            item: name of its items.

        Raises:
            NotS3: it is another one, or none, or has a field twice.
        """
        try:
            root = ET.fromstring(body)  # noqa: S314 -- as botocore; expat bounds entities
        except ET.ParseError as error:
            raise NotS3(reason=f"its document can't be read: {shorten(error)}") from error
        if _local(root.tag) != name:
            raise NotS3(reason=f"it is {shorten(_local(root.tag))}, and not {name}")
        fields: dict[str, str] = {}
        items: list[Mapping[str, str]] = []
        for child in root:
            tag = _local(child.tag)
            if tag == item:
                items.append({_local(field.tag): field.text or "" for field in child})
            elif tag in fields:
                raise NotS3(reason=f"it has {shorten(tag)} twice")
            else:
                fields[tag] = child.text or ""
        return cls(fields, items)


def _local(tag: str) -> str:
    """An element's name without its namespace."""
    return tag.rpartition("}")[2]


def boolean(text: str) -> bool:
    """Reads "true" or "false".

    Raises:
        ValueError: it is another word.
    """
    try:
        return _BOOLEANS[text.strip().lower()]
    except KeyError:
        raise ValueError(f"{shorten(text)} is neither true nor false") from None


def moment(text: str) -> float:
    """Reads a time; in s since 1970.

    Raises:
        ValueError: it is none.
    """
    try:
        read = dt.datetime.fromisoformat(text)
    except ValueError:
        read = parse_timestamp(text)  # knows more forms
    return (read if read.tzinfo else read.replace(tzinfo=dt.UTC)).timestamp()


class _Strict(RestXMLParser):
    def _handle_boolean(self, shape: Any, node: Any) -> bool:  # noqa: ANN401 -- botocore's own
        del shape
        return boolean(node if isinstance(node, str) else node.text or "")


class _StrictParsers(ResponseParserFactory):
    def create_parser(self, protocol_name: Any) -> ResponseParser:  # noqa: ANN401 -- the same
        return _Strict() if protocol_name == "rest-xml" else super().create_parser(protocol_name)


def read_strictly(session: boto3.session.Session) -> None:
    """Makes the clients that a session will create read documents strictly."""
    session._session.register_component("response_parser_factory", _StrictParsers())  # noqa: SLF001 -- boto3 has no other way
