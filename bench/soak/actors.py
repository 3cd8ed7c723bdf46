"""Those who use the fleet: writers, readers, deleters, labellers, listers."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.soak.content import Content, content
from bench.soak.listing import Misread, check_list
from bench.soak.oracle import Claim, Oracle, Seen, State
from bench.soak.stage import TENANTS
from holdfast import ContentStore
from holdfast.client.protocol import ClientOptions
from holdfast.client.reader import BlobReader
from holdfast.client.writer import Writer
from holdfast.errors import AlreadyExists, DataLoss, HoldfastError, NotFound

OPTIONS = ClientOptions(
    timeout=6.0, stream_timeout=20.0, reply_timeout=10.0, commit_timeout=20.0, retry_for=40.0
)
INGEST_AGE = 60.0
"""Seconds after which a writer gives an ingest up; collectors count on it."""
WINDOW = 40
"""Contents from which everybody chooses, so that tenants meet; the window moves on."""
RANGE = 2**18


@dataclass
class Plan:
    """What all actors share."""

    seed: int
    addresses: list[str]
    oracle: Oracle
    stop: threading.Event
    misread: Misread
    written: int = 0

    def content(self, dice: random.Random) -> Content:
        """One of the window; now and then the window moves on."""
        if dice.random() < 0.15:
            self.written += 1
        return content(self.seed, self.written + dice.randrange(WINDOW))


class Client:
    """A tenant's store that tells whether a call had to be repeated."""

    def __init__(self, plan: Plan, tenant: str, dice: random.Random) -> None:
        addresses = list(plan.addresses)
        dice.shuffle(addresses)
        self.repeats = 0
        self.store = ContentStore(addresses, tenant=tenant, options=OPTIONS, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.repeats += 1
        time.sleep(seconds)


class Actor(threading.Thread):
    """Somebody who does one thing after another until it is time to stop."""

    def __init__(self, plan: Plan, kind: str, index: int) -> None:
        super().__init__(name=f"{kind}-{index}", daemon=True)
        self.plan = plan
        self.oracle = plan.oracle
        self.dice = random.Random(f"{plan.seed}/{self.name}")  # noqa: S311 -- replayed by seed
        self._act: Callable[[], None] = getattr(self, kind)
        self._clients: dict[str, Client] = {}

    def run(self) -> None:
        """Goes on whatever happens; what no operation expects is a violation."""
        while not self.plan.stop.is_set():
            try:
                self._act()
            except HoldfastError as error:
                self.oracle.error(self.name.partition("-")[0], error)
            except Exception as error:  # noqa: BLE001 -- told, and it goes on
                self.oracle.violation(f"{self.name} failed: {error!r}")
                self.plan.stop.wait(1.0)
        for client in self._clients.values():
            client.store.close()

    def _client(self, tenant: str) -> Client:
        if tenant not in self._clients:
            self._clients[tenant] = Client(self.plan, tenant, self.dice)
        return self._clients[tenant]

    def _held(self, share: float = 1.0) -> Seen | None:
        held = [seen for seen in self.oracle.seen() if seen.state is State.HELD]
        if not held or self.dice.random() > share:
            self.plan.stop.wait(0.05)
            return None
        return self.dice.choice(held)

    def _detected(self, claim: Claim, began: float, error: HoldfastError) -> bool:
        """Whether an error tells of damage that somebody did on the way, since a moment.

        Nothing acknowledged may be lost by it: it is read again at the end.
        """
        if not self.plan.misread(began, claim.tenant, claim.content.digest):
            return False
        self.oracle.error(f"misread: {self.name.partition('-')[0]}", error)
        return True

    # -- writing

    def writer(self) -> None:
        """Commits a content, perhaps after breaking it off; or leaves it, or aborts it."""
        tenant, wanted = self.dice.choice(TENANTS), self.plan.content(self.dice)
        claim, client = self.oracle.claim(tenant, wanted), self._client(tenant)
        if not claim.lock.acquire(blocking=False):
            return
        before = claim.state
        try:
            self.oracle.begin(claim, f"{self.name} writes")
            clean = self._write(claim, client, before)
            self.oracle.settle(claim, State.HELD, clean=clean, what="committed")
            self.oracle.count("commit", sent=wanted.size)
        except Left:
            self.oracle.settle(claim, before, clean=True, what="left")
        except HoldfastError as error:
            claim.tainted = True
            claim.note(f"write failed: {error!r}"[:200])
            self.oracle.error("commit", error)
        finally:
            claim.lock.release()

    def _write(self, claim: Claim, client: Client, before: State) -> bool:
        """Returns whether no COMMIT had to be repeated."""
        wanted, begun, first = claim.content, time.monotonic(), client.repeats
        ref = f"{self.name}/{wanted.number}/{self.dice.randrange(10**9)}"
        body, breaks = wanted.read(), self.dice.choice((0, 0, 0, 1, 2))
        expected = "" if self.dice.random() < 0.3 else str(wanted.digest)
        total = wanted.size if self.dice.random() < 0.7 else 0
        try:
            while True:
                writer = client.store.writer(ref, total=total, expected=expected)
                offset = writer.offset
                if offset:
                    self.oracle.count("resume")
                    writer.skip(memoryview(body)[:offset])
                if breaks:
                    breaks -= 1
                    self._break_off(writer, body, offset)
                    if self.dice.random() < 0.1 or time.monotonic() - begun > INGEST_AGE / 2:
                        self._leave(client, ref)
                    continue
                with writer:
                    writer.write(memoryview(body)[offset:])
                    writer.flush()
                    repeats = client.repeats
                    committed = writer.commit(str(wanted.digest))
                if (committed.digest, committed.size) != (wanted.digest, wanted.size):
                    self.oracle.violation(f"committed as {committed}", claim)
                return client.repeats == repeats
        except AlreadyExists:
            if before is State.ABSENT and not claim.tainted and client.repeats == first:
                self.oracle.violation("not held, and the store says that it is", claim)
            self.oracle.count("already there")
            return client.repeats == first
        except HoldfastError:
            self._abort(client, ref)
            raise

    def _break_off(self, writer: Writer, body: bytes, offset: int) -> None:
        """Writes some more, and goes: politely, or as one whose machine died."""
        end = self.dice.randint(offset, len(body))
        writer.write(memoryview(body)[offset:end])
        if self.dice.random() < 0.5:
            writer.close()
        else:
            writer._upload.drop()  # noqa: SLF001 -- a client that dies says nothing
        self.oracle.count("break off")

    def _leave(self, client: Client, ref: str) -> None:
        if self.dice.random() < 0.7:
            client.store.abort(ref)
            self.oracle.count("abort")
        raise Left

    def _abort(self, client: Client, ref: str) -> None:
        try:
            client.store.abort(ref)
        except HoldfastError as error:
            self.oracle.error("abort", error)
        else:
            self.oracle.count("abort")

    # -- adopting, labels, deleting

    def adopter(self) -> None:
        """Asks for the Info of what another tenant has brought in, and holds it then."""
        seen = self._held(0.5)
        if seen is None:
            return
        tenant = self.dice.choice(TENANTS)
        claim, client = self.oracle.claim(tenant, seen.claim.content), self._client(tenant)
        if not claim.lock.acquire(blocking=False):
            return
        try:
            repeats, before, began = client.repeats, claim.state, time.monotonic()
            self.oracle.begin(claim, f"{self.name} asks for it")
            try:
                info = client.store.info(claim.content.digest)
            except NotFound as error:
                if before is State.HELD and not self._detected(claim, began, error):
                    self.oracle.violation("Info of what is held: NOT_FOUND", claim)
                claim.tainted = True  # a hold may have been made in vain
                return
            clean = client.repeats == repeats
            self.oracle.settle(claim, State.HELD, clean=clean, what="told that it is held")
            if info.size != claim.content.size:
                self.oracle.violation(f"Info says {info.size} bytes", claim)
            self.oracle.count("info")
        finally:
            claim.lock.release()

    def labeller(self) -> None:
        """Sets a label of what is held, and looks whether the last one is still there."""
        seen = self._held(0.3)
        if seen is None or not seen.claim.lock.acquire(blocking=False):
            return
        claim = seen.claim
        try:
            if not seen.unmoved():
                return
            client, value = self._client(claim.tenant), str(self.dice.randrange(10**6))
            repeats, last, began = client.repeats, claim.label, time.monotonic()
            claim.label = None
            claim.note(f"label {value}")
            try:
                info = client.store.info(claim.content.digest)
                if last is not None and info.labels.get("soak") != last:
                    self.oracle.violation(f"label {info.labels} isn't {last}", claim)
                info = client.store.update(claim.content.digest, {"soak": value})
            except NotFound as error:
                if not self._detected(claim, began, error):
                    self.oracle.violation("Update of what is held: NOT_FOUND", claim)
                return
            if info.labels.get("soak") != value:
                self.oracle.violation(f"label {info.labels} isn't {value}", claim)
            if client.repeats == repeats:
                claim.label = value
            else:
                claim.tainted = True
            self.oracle.count("label")
        finally:
            claim.lock.release()

    def deleter(self) -> None:
        """Deletes what is held, most often when there is much of it."""
        seen = self._held(0.6)
        if seen is None or not seen.claim.lock.acquire(blocking=False):
            return
        claim = seen.claim
        try:
            client = self._client(claim.tenant)
            repeats = client.repeats
            claim.label = None
            self.oracle.begin(claim, f"{self.name} deletes")
            try:
                client.store.delete(claim.content.digest)
            except HoldfastError as error:
                claim.tainted = True
                claim.note(f"delete failed: {error!r}"[:200])
                raise
            clean = client.repeats == repeats
            self.oracle.settle(claim, State.ABSENT, clean=clean, what="deleted")
            self.oracle.count("delete")
        finally:
            claim.lock.release()

    # -- looking

    def reader(self) -> None:
        """Reads all of what is held, or ranges of it; in half of the cases no Info comes first."""
        seen = self._held()
        if seen is None:
            return
        client, wanted = self._client(seen.claim.tenant), seen.claim.content
        body, began = wanted.read(), time.monotonic()
        blob = BlobReader(client.store._frontends, wanted.digest, wanted.size)  # noqa: SLF001
        try:
            with blob:
                if self.dice.random() < 0.5:
                    read = blob.readall() if wanted.size else b""
                    self._compare(seen.claim, read or b"", body, 0)
                else:
                    for _ in range(4):
                        offset = self.dice.randint(0, wanted.size)
                        blob.seek(offset)
                        self._compare(seen.claim, blob.read(RANGE) or b"", body, offset)
        except (NotFound, DataLoss) as error:
            if not self._detected(seen.claim, began, error) and (
                isinstance(error, DataLoss) or seen.unmoved()
            ):
                self.oracle.violation(f"read failed: {error!r}", seen.claim)
            return
        self.oracle.count("read")

    def _compare(self, claim: Claim, found: bytes, body: bytes, offset: int) -> None:
        if found != body[offset : offset + len(found)] or (not found and offset < len(body)):
            self.oracle.violation(f"wrong bytes at {offset}, {len(found)} of them", claim)
        self.oracle.count("range", read=len(found))

    def lister(self) -> None:
        """Lists a tenant's holds: what is held must be there, what was deleted must not."""
        tenant = self.dice.choice(TENANTS)
        check_list(self.oracle, self._client(tenant).store, tenant, self.plan.misread)
        self.plan.stop.wait(0.5)


class Left(Exception):  # noqa: N818 -- an outcome
    """The writer has gone, and won't come back."""
