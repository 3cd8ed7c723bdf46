"""Ways to break the code: each puts one request in the wrong place, or leaves it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from holdfast.coordination.hold_cache import Announcement, HoldCache
from holdfast.coordination.ingests import Ingests
from holdfast.digests import Digest
from holdfast.service.collector import records as collector_records
from holdfast.service.collector import survey, sweep, tombstones
from holdfast.service.collector.deletes import BrokenDeletes
from holdfast.service.collector.holds import list_holds
from holdfast.service.collector.known import Known
from holdfast.service.collector.reading import RecordsPass
from holdfast.service.collector.retention import Retention
from holdfast.service.holdings.catalogue import Catalogue
from holdfast.service.ingest.commit import Commits
from holdfast.service.ingest.completion import Completion
from holdfast.storage.blobs import Blobs
from holdfast.storage.compaction import Compaction
from holdfast.storage.holds import Holds, merged
from holdfast.storage.keys import DELETING, RETAINED, hold_prefix, record_digest, record_key
from holdfast.storage.own_data import OwnData, Sight
from holdfast.storage.port import Entry
from holdfast.storage.records import Records, Seen, State
from tests.model.recording import RecordingStore

Patch = pytest.MonkeyPatch


def skip_marks(patch: Patch) -> None:
    def mark(holds: Holds, tenant: str, digest: Digest, *_: object) -> list[str]:
        return [entry.key for entry in holds._store.list(hold_prefix(tenant, digest))]

    patch.setattr(Holds, "mark", mark)


def unmark_first(patch: Patch) -> None:
    def unlink(holds: Holds, keys: list[str]) -> None:
        for key in keys:
            holds._store.delete(key + DELETING)
            holds._store.delete(key)

    patch.setattr(Holds, "unlink", unlink)


def delete_before_marks(patch: Patch) -> None:
    mark = Holds.mark

    def hasty(holds: Holds, tenant: str, digest: Digest, *rest: Any) -> list[str]:
        for entry in list(holds._store.list(hold_prefix(tenant, digest))):
            holds._store.delete(entry.key)
        return mark(holds, tenant, digest, *rest)

    patch.setattr(Holds, "mark", hasty)


def never_confirm(patch: Patch) -> None:
    async def confirm(_: Announcement) -> None:
        pass

    patch.setattr(Announcement, "confirm", confirm)


def confirm_first(patch: Patch) -> None:
    changing, confirm = HoldCache.changing, Announcement.confirm

    def asking(cache: HoldCache, tenant: str, digest: Digest, *, delete: bool) -> Any:
        context = changing(cache, tenant, digest, delete=delete)
        enter = context.__aenter__

        async def entered() -> Announcement:
            announcement = await enter()
            await confirm(announcement)
            return announcement

        class Asked:
            async def __aenter__(self) -> Announcement:
                return await entered()

            async def __aexit__(self, *error: object) -> Any:
                return await context.__aexit__(*error)  # type: ignore[arg-type]

        return Asked()

    patch.setattr(HoldCache, "changing", asking)
    never_confirm(patch)


def announce_late(patch: Patch) -> None:
    async def late(
        catalogue: Catalogue, tenant: str, digest: Digest, _patience: float | None = None
    ) -> None:
        keys = await catalogue._holds.mark(tenant, digest)
        async with catalogue._cache.changing(tenant, digest, delete=True) as announced:
            await announced.confirm()
            await catalogue._holds.unlink(keys)

    patch.setattr(Catalogue, "delete", late)


def fill_first(patch: Patch) -> None:
    look_up = HoldCache.look_up

    async def hasty(cache: HoldCache, tenant: str, digest: Digest) -> Any:
        ticket = (await look_up(cache, tenant, digest)).ticket
        await cache.fill(tenant, digest, ticket, "[1,1,1,{}]")
        return await look_up(cache, tenant, digest)

    patch.setattr(HoldCache, "look_up", hasty)


def hold_after(patch: Patch) -> None:
    make, publish = Blobs.make_hold, Blobs.publish

    def late(blobs: Blobs, tenant: str, record: Any, lifetime: Any, hold: Any, key: str) -> Any:
        done = publish(blobs, tenant, record, lifetime, hold, key)
        make(blobs, tenant, hold)
        return done

    patch.setattr(Blobs, "make_hold", lambda *_, **_again: "holds/none")
    patch.setattr(Blobs, "publish", late)


def no_hold(patch: Patch) -> None:
    patch.setattr(Blobs, "make_hold", lambda *_, **_again: "holds/none")


def data_after(patch: Patch) -> None:
    carry_out, complete = Commits.carry_out, Completion.complete
    todo: list[Any] = []

    async def later(completion: Completion, frozen: Any, body: Any) -> OwnData:
        todo.append((frozen, body))
        return OwnData(completion._lifetime(completion._store.now()), Sight(completion._clock()))

    async def late(commits: Commits, *arguments: Any, **options: Any) -> Any:
        done = await carry_out(commits, *arguments, **options)
        for frozen, body in todo:
            await complete(commits._completion, frozen, body)
        return done

    patch.setattr(Completion, "complete", later)
    patch.setattr(Commits, "carry_out", late)


def record_unconditionally(patch: Patch) -> None:
    def write(records: Records, record: Any, _over: Any, *_: object) -> Seen:
        entry = records._store.put(record_key(record.digest), record.encode())
        return Seen(record, entry.etag, entry.date)

    patch.setattr(Records, "write", write)


def hold_unconditionally(patch: Patch) -> None:
    def make(holds: Holds, tenant: str, hold: Any, _name: Any = None) -> str:
        key = hold_prefix(tenant, hold.digest) + "h"
        holds._store.put(key, hold.encode())
        return key

    patch.setattr(Holds, "make", make)


def never_freeze(patch: Patch) -> None:
    async def freeze(*_: object) -> None:
        pass

    patch.setattr(Ingests, "freeze", freeze)


def forget_first(patch: Patch) -> None:
    carry_out = Commits.carry_out

    async def hasty(
        commits: Commits, tenant: str, ref: str, frozen: Any, body: Any, **options: Any
    ) -> Any:
        await commits._forget(tenant, ref, frozen.record)
        return await carry_out(commits, tenant, ref, frozen, body, **options)

    patch.setattr(Commits, "carry_out", hasty)


def give_bytes_up_unseen(patch: Patch) -> None:
    patch.setattr(Blobs, "intact", lambda *_: True)


def carry_out_always(patch: Patch) -> None:
    patch.setattr(Blobs, "done_before", lambda *_: False)


def adopt_unread(patch: Patch) -> None:
    live_record = Blobs.live

    def adopt(blobs: Blobs, tenant: str, digest: Digest, now_ns: int, labels: Any) -> Any:
        record = live_record(blobs, digest)
        assert record
        hold = blobs.new_hold(digest, record.size, now_ns, labels)
        blobs._holds.make(tenant, hold)
        return blobs.relabel(tenant, digest, lambda old: old, now_ns), record

    patch.setattr(Blobs, "adopt", adopt)


def count_holds_alone(patch: Patch) -> None:
    def held(blobs: Blobs, tenant: str, digest: Digest) -> Any:
        found = blobs._holds.find(tenant, digest)
        return merged(found), None

    patch.setattr(Blobs, "held", held)


def never_pardon(patch: Patch) -> None:
    patch.setattr(Blobs, "_pardon", lambda _blobs, seen: seen.record)


def warm_unwritten(patch: Patch) -> None:
    patch.setattr(Blobs, "renewed", Blobs.live)


def ignore_marks(patch: Patch) -> None:
    load = Holds.load

    def all_of(holds: Holds, group: Sequence[Entry]) -> Any:
        return load(holds, [entry for entry in group if not entry.key.endswith(DELETING)])

    patch.setattr(Holds, "load", all_of)


def trust_the_cache(patch: Patch) -> None:
    patch.setattr(Blobs, "whole", lambda *_: True)


def list_once(patch: Patch) -> None:
    listed: list[Any] = []

    def once(run: Any, *arguments: Any, **options: Any) -> Any:
        if not listed:
            listed.append(list_holds(run, *arguments, **options))
        return listed[0]

    patch.setattr("holdfast.service.collector.survey.list_holds", once)
    patch.setattr("holdfast.service.collector.records.list_holds", once)


def bury_live(patch: Patch) -> None:
    def condemn(pass_: Any, candidate: Any) -> None:
        seen = collector_records.as_read(pass_._run, candidate)
        assert seen
        pass_._run.records.write(seen.record.turned(State.TOMBSTONE, "n"), seen)

    patch.setattr(collector_records.Condemnation, "_condemn", condemn)


def condemn_by_marker(patch: Patch) -> None:
    held = RecordsPass._held

    def judge(records: RecordsPass, key: str, known: Known) -> None:
        held(records, key, known)
        # As if the listing of holds didn't matter once a marker is old.
        records._retention._condemn(survey.Candidate(key, known.etag, known.size))

    patch.setattr(RecordsPass, "_held", judge)


def mark_unconditionally(patch: Patch) -> None:
    put = RecordingStore.put

    def careless(store: RecordingStore, key: str, body: bytes, condition: Any = None) -> Any:
        return put(store, key, body, None if key.startswith(RETAINED) else condition)

    patch.setattr(RecordingStore, "put", careless)


def leave_markers(patch: Patch) -> None:
    patch.setattr(Retention, "outlived", lambda *_: None)


def pardon_nothing(patch: Patch) -> None:
    patch.setattr(sweep, "pardon", lambda _run, _condemned: None)


def remove_unconditionally(patch: Patch) -> None:
    def delete_if(store: RecordingStore, key: str, _etag: str) -> None:
        store.delete(key)

    patch.setattr(RecordingStore, "delete_if", delete_if, raising=False)
    patch.setattr(tombstones, "deletes_conditionally", lambda _store: True)


def bury_unread(patch: Patch) -> None:
    as_read, paired = collector_records.as_read, collector_records.Burial._paired

    def call(burial: Any, candidates: Any, _first: Any) -> None:
        lines = map(survey.Candidate.decode, candidates.sorted())
        kept = {candidate.key: as_read(burial._run, candidate) for candidate in lines}
        patch.setattr(collector_records, "as_read", lambda _run, c: kept[c.key])
        held = list_holds(burial._run, count=False)
        burial._run.do(burial._settle, paired(burial, candidates, held.names))

    patch.setattr(collector_records.Burial, "__call__", call)


def read_records_first(patch: Patch) -> None:
    def late(run: Any) -> Any:
        doomed, held = survey._doomed(run), list_holds(run, run.spools.new(), count=True)
        for entry in list(run.store.list("blobs/")):
            run.records.read(record_digest(entry.key))
        considered, count, size = survey._list_data(run)
        found = begin(run)
        return replace(found, doomed=doomed, held=held, considered=considered, data=count + size)

    begin = survey.begin
    patch.setattr("holdfast.service.collector.sweep.begin", late)


def finish_deletes(patch: Patch) -> None:
    patch.setattr(BrokenDeletes, "_seen_without", lambda *_: True)


def compact_unseen(patch: Patch) -> None:
    def mark(steps: Any) -> bool:
        *others, newest = sorted(named.key for named in steps._find())
        steps._newest, steps._others = newest, others
        for key in others:
            steps._store.put(key + DELETING, b"")
        return True

    patch.setattr(Compaction, "mark", mark)


def compact_unmarked(patch: Patch) -> None:
    def mark(steps: Any) -> bool:
        *others, newest = sorted(named.key for named in steps._find())
        steps._newest, steps._others = newest, others
        return bool(list(steps._store.list(steps._prefix)))

    patch.setattr(Compaction, "mark", mark)
