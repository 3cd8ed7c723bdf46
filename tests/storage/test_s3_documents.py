"""Documents of S3's are read strictly: what isn't plainly right is no answer of S3's."""

from __future__ import annotations

import pytest

from holdfast.storage.s3_documents import Document, boolean, moment
from holdfast.storage.s3_strangers import NotS3

PAGE = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b'<List xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Empty/>'
    b"<Item><Key>a &amp; b</Key></Item><Item><Key>c</Key><Size>1</Size></Item></List>"
)


def test_fields_and_items() -> None:
    """A document has fields and items, whatever namespace it is in."""
    page = Document.read(PAGE, "List", "Item")
    assert page.fields == {"Name": "b", "Empty": ""}
    assert page.items == [{"Key": "a & b"}, {"Key": "c", "Size": "1"}]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "can't be read"),
        (b"{}", "can't be read"),
        (PAGE[:-1], "can't be read"),
        (PAGE.replace(b"List", b"Liste"), "it is 'Liste', and not List"),
        (PAGE.replace(b"Empty", b"Name"), "it has 'Name' twice"),
    ],
)
def test_what_is_no_such_document(body: bytes, reason: str) -> None:
    """Another document, half a one, or one that contradicts itself is named as what it is."""
    with pytest.raises(NotS3, match=reason):
        Document.read(body, "List", "Item")


def test_entities_do_not_grow() -> None:
    """A document whose entities would grow to gigabytes is refused."""
    levels = "".join(f'<!ENTITY e{level + 1} "{f"&e{level};" * 10}">' for level in range(9))
    text = f'<!DOCTYPE List [<!ENTITY e0 "lol">{levels}]><List><Name>&e9;</Name></List>'
    with pytest.raises(NotS3):
        Document.read(text.encode(), "List")


def test_booleans() -> None:
    """Only true and false are booleans; nothing else counts as false."""
    assert [boolean(text) for text in ("true", "false", " True ")] == [True, False, True]
    for text in ("", "trve", "0", "yes"):
        with pytest.raises(ValueError, match="neither true nor false"):
            boolean(text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-26T04:00:00Z",
        "2026-11-26T04:00:00.000Z",
        "2026-11-26T04:00:00",
        "Thu, 26 Nov 2026 04:00:00 GMT",
    ],
)
def test_moments(text: str) -> None:
    """The forms in which servers write times are read alike."""
    assert moment(text) == 1795665600.0
