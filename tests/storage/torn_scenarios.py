"""What is done to a folder while its file operations are recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

from holdfast.storage.port import ConditionFailed, IfAbsent, IfMatch, NoSuchUpload, Part
from holdfast.storage.records import State
from tests.storage.blobs_fixture import BODY, DIGEST, JUST_STORED, NOW, Shop, hold, live, shop_on
from tests.storage.torn_ledger import Ledger

TENANT = "a"
KEY = "data/one"

# Each of these is an order of calls whose file operations are recorded, the calls before
# `yield` as what was there and durable already.
Scenario = Callable[[Ledger], Iterator[None]]


def first_put(store: Ledger) -> Iterator[None]:
    yield
    store.put(KEY, b"new")


def put_beside(store: Ledger) -> Iterator[None]:
    store.put("data/two", b"there")
    yield
    store.put(KEY, b"new")


def replace_by_condition(store: Ledger) -> Iterator[None]:
    etag = store.put(KEY, b"old").etag
    yield
    store.put(KEY, b"new", IfMatch(etag))
    with suppress(ConditionFailed):
        store.put(KEY, b"newer", IfMatch(etag))


def create_and_lose(store: Ledger) -> Iterator[None]:
    yield
    store.put(KEY, b"", IfAbsent())
    with suppress(ConditionFailed):
        store.put(KEY, b"second", IfAbsent())


def _uploaded(store: Ledger, *bodies: bytes) -> tuple[str, list[Part]]:
    upload = store.create_upload(KEY)
    return upload.id, [
        store.put_part(KEY, upload.id, n, body) for n, body in enumerate(bodies, start=1)
    ]


def put_over_parts(store: Ledger) -> Iterator[None]:
    store.complete_upload(KEY, *_uploaded(store, b"o", b"ld"))
    yield
    store.put(KEY, b"new")


def delete_only(store: Ledger) -> Iterator[None]:
    store.put(KEY, b"old")
    yield
    store.delete(KEY)


def delete_beside(store: Ledger) -> Iterator[None]:
    store.put("data/two", b"there")
    store.put(KEY, b"old")
    yield
    store.delete(KEY)
    store.delete(KEY)


def delete_parts(store: Ledger) -> Iterator[None]:
    store.complete_upload(KEY, *_uploaded(store, b"o", b"ld"))
    yield
    store.delete(KEY)


def delete_and_put(store: Ledger) -> Iterator[None]:
    store.put(KEY, b"old")
    yield
    store.delete(KEY)
    store.put(KEY, b"new")


def upload(store: Ledger) -> Iterator[None]:
    yield
    begun, parts = _uploaded(store, b"one", b"two")
    parts[0] = store.put_part(KEY, begun, 1, b"one again")
    store.put_part(KEY, begun, 3, b"unused")
    store.complete_upload(KEY, begun, parts)


def complete_over_file(store: Ledger) -> Iterator[None]:
    store.put(KEY, b"old")
    begun, parts = _uploaded(store, b"n", b"ew")
    yield
    store.complete_upload(KEY, begun, parts)


def complete_over_parts(store: Ledger) -> Iterator[None]:
    store.complete_upload(KEY, *_uploaded(store, b"o", b"ld"))
    begun, parts = _uploaded(store, b"n", b"ew")
    yield
    store.complete_upload(KEY, begun, parts)


def abort(store: Ledger) -> Iterator[None]:
    begun, _ = _uploaded(store, b"one", b"two")
    yield
    store.abort_upload(KEY, begun)


def tail(store: Ledger) -> Iterator[None]:
    yield
    store.put("tails/one", b"less than a part")
    store.get("tails/one")
    store.delete("tails/one")


# -- whole commits, as storage.blobs orders them


def commit_whole(shop: Shop, *, inline: bool = False, parts: bool = False) -> None:
    record = live(inline=inline)
    if parts:
        begun = shop.store.create_upload(record.data_key)
        stored = [
            shop.store.put_part(record.data_key, begun.id, n, piece)
            for n, piece in enumerate((BODY[:7], BODY[7:]), start=1)
        ]
        shop.store.complete_upload(record.data_key, begun.id, stored)
    elif not inline:
        shop.store.put(record.data_key, BODY)
    held = hold({"a": "1"})
    key = shop.blobs.make_hold(TENANT, held)
    shop.blobs.publish(TENANT, record, JUST_STORED, held, key)


def commit_inline(store: Ledger) -> Iterator[None]:
    yield
    commit_whole(shop_on(store), inline=True)


def commit_object(store: Ledger) -> Iterator[None]:
    yield
    commit_whole(shop_on(store))


def commit_parts(store: Ledger) -> Iterator[None]:
    yield
    commit_whole(shop_on(store), parts=True)


def commit_again(store: Ledger) -> Iterator[None]:
    commit_whole(shop_on(store))
    yield
    commit_whole(shop_on(store), inline=True)


def relabel(store: Ledger) -> Iterator[None]:
    shop = shop_on(store)
    commit_whole(shop, inline=True)
    yield
    shop.blobs.relabel(TENANT, DIGEST, lambda labels: {**labels, "b": "2"}, NOW + 1)


def drop(store: Ledger) -> Iterator[None]:
    shop = shop_on(store)
    commit_whole(shop, inline=True)
    yield
    shop.blobs.drop(TENANT, DIGEST)


def drop_and_commit(store: Ledger) -> Iterator[None]:
    shop = shop_on(store)
    commit_whole(shop, inline=True)
    yield
    shop.blobs.drop(TENANT, DIGEST)
    commit_whole(shop, inline=True)


SCENARIOS: list[Scenario] = [
    first_put, put_beside, replace_by_condition, create_and_lose, put_over_parts, delete_only,
    delete_beside, delete_parts, delete_and_put, upload, complete_over_file, complete_over_parts,
    abort, tail, commit_inline, commit_object, commit_parts, commit_again, relabel, drop,
    drop_and_commit,
]  # fmt: skip


# -- a process dies, another one does the same again, and then the power fails

Act = Callable[[Ledger], None]
Repeated = Callable[[Ledger], Act]


def open_twice(store: Ledger) -> Act:
    """The only one whose folder isn't there yet."""
    del store

    def act(to: Ledger) -> None:
        to.check_access()
        _create_or_read(to)

    return act


def _create_or_read(to: Ledger) -> None:
    try:
        to.put(KEY, b"new", IfAbsent())
    except ConditionFailed:
        to.get(KEY)


def delete_twice(store: Ledger) -> Act:
    store.put(KEY, b"old")
    return lambda to: to.delete(KEY)


def delete_parts_twice(store: Ledger) -> Act:
    store.complete_upload(KEY, *_uploaded(store, b"o", b"ld"))
    return lambda to: to.delete(KEY)


def create_twice(store: Ledger) -> Act:
    del store
    return _create_or_read


def complete_twice(store: Ledger) -> Act:
    begun, parts = _uploaded(store, b"n", b"ew")

    def act(to: Ledger) -> None:
        try:
            to.complete_upload(KEY, begun, parts)
        except NoSuchUpload:
            to.head(KEY)

    return act


def complete_over_parts_twice(store: Ledger) -> Act:
    store.complete_upload(KEY, *_uploaded(store, b"o", b"ld"))
    return complete_twice(store)


def abort_twice(store: Ledger) -> Act:
    begun, _ = _uploaded(store, b"one")
    return lambda to: to.abort_upload(KEY, begun)


def commit_twice(store: Ledger) -> Act:
    """As a frontend does that carries out what another one froze."""
    record = live()
    store.put(record.data_key, BODY)

    def act(to: Ledger) -> None:
        shop, held = shop_on(to), hold()
        if not shop.blobs.done_before(record):
            key = shop.blobs.make_hold(TENANT, held)
            shop.blobs.publish(TENANT, record, JUST_STORED, held, key)

    return act


def pardon_twice(store: Ledger) -> Act:
    """An adoption of what the collector has condemned."""
    shop = shop_on(store)
    commit_whole(shop, inline=True)
    seen = shop.records.read(DIGEST)
    assert seen
    shop.records.write(seen.record.turned(State.CONDEMNED, "condemned"), seen)
    return lambda to: assert_adopted(shop_on(to))


def assert_adopted(shop: Shop) -> None:
    assert shop.blobs.adopt("b", DIGEST, NOW, {})


def drop_twice(store: Ledger) -> Act:
    commit_whole(shop_on(store), inline=True)
    return lambda to: assert_dropped(shop_on(to))


def assert_dropped(shop: Shop) -> None:
    shop.blobs.drop(TENANT, DIGEST)


REPEATED: list[Repeated] = [
    open_twice,
    delete_twice, delete_parts_twice, create_twice, complete_twice, complete_over_parts_twice,
    abort_twice, commit_twice, pardon_twice, drop_twice,
]  # fmt: skip
