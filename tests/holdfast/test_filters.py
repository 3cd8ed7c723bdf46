"""The filters' language, held against containerd's."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.digests import Digest
from holdfast.errors import InvalidArgument
from holdfast.filters import MAX_FILTER_CHARACTERS, MAX_FILTERS, MAX_REGEXPS, Filter, quote
from holdfast.values import Info, Status

DIGEST = Digest.of(b"x")


def info(size: int = 1, **labels: str) -> Info:
    return Info(DIGEST, size, 0, 0, labels)


def named(labels: dict[str, str]) -> Info:
    return Info(DIGEST, 1, 0, 0, labels)


def status(ref: str) -> Status:
    return Status(ref, 0, 0, "", 0, 0)


def matches(text: str, subject: Info) -> bool:
    return Filter.parse([text]).matches_info(subject)


@pytest.mark.parametrize("filters", [[], [""], ["", "labels.a"], ["labels.a", ""]])
def test_no_filter_and_the_empty_filter_match_everything(filters: list[str]) -> None:
    """Without a filter, or with an empty one among several, all content matches."""
    assert Filter.parse(filters).matches_info(info())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("labels.a", True),
        ("labels.b", False),
        ("labels", False),
        ("labels.a==true", True),
        ("labels.a == true", True),
        (" labels.a==\ttrue", True),
        ("labels.a==tru", False),
        ("labels.b==true", False),
        ('labels.b==""', False),
        ("labels.a!=true", False),
        ("labels.a!=false", True),
        ("labels.b!=true", True),
        ('labels.b!=""', False),
        ("labels.a~=ru", True),
        ("labels.a~=^ru", False),
        ("labels.a~=/^t.+e$/", True),
        ("labels.a~=|^t|", True),
        ('labels.a~="^t"', True),
        ("labels.b~=/^$/", True),
        ("labels.b~=x*.", False),
        ("labels.a~=/(/", False),
        ("labels.a~=/(?=t)/", False),
        ('labels.a~="\\xff"', False),
        ("labels.a==true,labels.b", False),
        ("labels.a==true, labels.c.d==e", True),
        ('labels."a"==true', True),
        ('labels."c.d"==e', True),
        ('labels.c."d"==e', True),
        ('labels."odd key"=="x, y"', True),
        ('labels."odd key"=="x\\x2c\\040y"', True),
        ('"digest"', True),
        (f"digest=={DIGEST}", True),
        ("digest~=/^sha256:[0-9a-f]{64}$/", True),
        ("digest.anything", True),
        ("size", False),
        ("size==1", False),
        ("size!=1", True),
        ("created_at", False),
        ("ref", False),
        ("labels.a==é", False),
        ("labels.e==é~=!/|", True),
    ],
)
def test_terms_compare_as_in_containerd(text: str, expected: bool) -> None:
    """Each operator, quoting and field does what containerd's filters do."""
    subject = named({"a": "true", "c.d": "e", "odd key": "x, y", "e": "é~=!/|"})
    assert matches(text, subject) is expected


def test_several_filters_are_alternatives() -> None:
    """Content matches if one of several filters does."""
    either = Filter.parse(["labels.a==1", "labels.b==2"])
    assert either.matches_info(info(a="1"))
    assert either.matches_info(info(b="2"))
    assert not either.matches_info(info(a="2", b="1"))


def test_an_ingest_has_its_ref_only() -> None:
    """A status is matched by `ref`; any other field is absent."""
    assert Filter.parse(["ref==layer-1"]).matches_status(status("layer-1"))
    assert Filter.parse(["ref~=/^layer/"]).matches_status(status("layer-1"))
    assert not Filter.parse(["ref==layer-2"]).matches_status(status("layer-1"))
    assert not Filter.parse(["digest"]).matches_status(status("layer-1"))


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("name==foo,", 10),
        ("labels.", 7),
        (".a", 0),
        (",", 0),
        ("image~=,id", 7),
        ("a=b", 1),
        ("a===b", 1),
        ("a?b", 1),
        ("a b", 2),
        ("a ", 2),
        ("a==b c", 4),
        ("a==.5", 3),
        ("a-b", 1),
        ("labels.ns/key==value", 9),
        ("labels.key==/value", 12),
        ("labels.key==/value/", 12),
        ("labels.|foo|==x", 7),
        ('labels.?"x"', 7),
        ('a=="x', 3),
        ('a=="x\n"', 3),
        ('a=="\\d"', 4),
        ('a=="\\x1"', 4),
        ('a=="\\400"', 4),
        ('a=="\\U00110000"', 4),
        ('a=="\\/"', 4),
        ("a==\x01", 3),
        ("a==b\x01", 4),
        ("a==\x1c", 3),
        ("a==b\0", 4),
        ("a\0", 1),
        ("a==\N{REPLACEMENT CHARACTER}", 3),
        ('a=="\0"', 4),
        ("a==b,c d,e", 7),
    ],
)
def test_a_syntax_error_names_its_position(text: str, position: int) -> None:
    """What can't be read is refused, and the message says where."""
    with pytest.raises(InvalidArgument, match=rf"at position {position}, "):
        Filter.parse([text])


def test_a_syntax_error_shows_in_any_of_several_filters() -> None:
    """An empty filter before it doesn't hide a malformed one."""
    with pytest.raises(InvalidArgument, match="position"):
        Filter.parse(["", "a=b"])


def test_what_a_message_quotes_is_shortened() -> None:
    """The text of a syntax error stays far below what a trailer may carry."""
    with pytest.raises(InvalidArgument) as caught:
        Filter.parse(["é" * 30_000])
    assert len(str(caught.value)) < 600


def test_escapes_of_a_quoted_string_are_go_s() -> None:
    """Letters, octal, hexadecimal and Unicode escapes stand for what they do in Go."""
    quoted = r'"\a\b\f\n\r\t\v\\\"\101\x42\u00e9\U0001f600\xc3\xa9\ud800"'
    value = '\a\b\f\n\r\t\v\\"AB\u00e9\U0001f600\u00e9\N{REPLACEMENT CHARACTER}'
    assert matches(f"labels.a=={quoted}", info(a=value))
    assert matches(r"labels.a~=/\//", info(a="a/b"))
    assert matches(r"labels.a~=/\\d/", info(a="a1"))


@pytest.mark.parametrize("count", [MAX_FILTERS, MAX_FILTERS + 1])
def test_the_number_of_filters_is_bounded(count: int) -> None:
    """One filter more than allowed is refused."""
    filters = ["labels.a"] * count
    if count > MAX_FILTERS:
        with pytest.raises(InvalidArgument, match="at most 256"):
            Filter.parse(filters)
    else:
        assert Filter.parse(filters).matches_info(info(a="1"))


def test_the_size_of_filters_is_bounded() -> None:
    """Filters that are too long together are refused before they are read."""
    half = "a" * (MAX_FILTER_CHARACTERS // 2)
    Filter.parse([half, half])
    with pytest.raises(InvalidArgument, match="65537 characters"):
        Filter.parse([half, half + "a"])


def test_the_number_of_regular_expressions_is_bounded() -> None:
    """Regular expressions cost memory, so they are counted over all filters."""
    Filter.parse(["a~=b"] * MAX_REGEXPS)
    with pytest.raises(InvalidArgument, match="33 regular expressions"):
        Filter.parse(["a~=b"] * MAX_REGEXPS + ["a~=b"])


@pytest.mark.timeout(20)
def test_a_hostile_pattern_does_not_stall() -> None:
    """Patterns on which a backtracking matcher never ends are answered."""
    subject = info(a="a" * 4000 + "!")
    assert not matches("labels.a~=/^(a+)+$/", subject)
    assert not matches("labels.a~=/^(a|aa)+$/", subject)
    assert not matches(f"labels.a~=/{'(a?)' * 400}{'a' * 400}b/", subject)


def test_a_pattern_too_large_to_compile_never_matches() -> None:
    """A regular expression over the memory bound is a bad one."""
    assert not matches("labels.a~=/(((a{1,30}){1,30}){1,30}|a)/", info(a="a"))


@given(st.lists(st.text(alphabet=st.sampled_from('ab.,=!~"/|\\ \n\0x0é*('), max_size=30)))
@example(['a=="\\'])
def test_reading_raises_nothing_but_invalid_argument(filters: list[str]) -> None:
    """Whatever the text, it is read or refused as the request's fault."""
    try:
        parsed = Filter.parse(filters)
    except InvalidArgument:
        return
    assert parsed.matches_info(info(a="b")) in {True, False}
    assert parsed.matches_status(status("a")) in {True, False}


@given(st.text(), st.text())
def test_what_is_quoted_is_read_back(key: str, value: str) -> None:
    """Any key and value can be asked for when they are quoted."""
    text = f"labels.{quote(key)}=={quote(value)}"
    assert matches(text, named({key: value}))
    assert not matches(text, named({key: value + "x"}))
