"""Steps about what is held, and what must be true of it after every step."""

from __future__ import annotations

from grpc import StatusCode
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from tests.faults.flows.flow import PART
from tests.faults.machine.base import Base, blobs, frontends, spoilt, tenants
from tests.faults.machine.oracle import BLOBS, DIGESTS, TENANTS

SEAM = 1000
"""Bytes read around each part's end after every step; at the end all bytes are read."""


class Contents(Base):
    """Queries, labels and deletes what is held, and checks the result."""

    @rule(frontend=frontends, tenant=tenants, blob=blobs)
    def info(self, frontend: int, tenant: str, blob: int) -> None:
        """An Info reports what is held, and adopts what the fleet has."""
        digest = DIGESTS[blob]
        info, code = self.attempt(self.tenant(frontend, tenant).info(digest), StatusCode.NOT_FOUND)
        if info is not None:
            assert info.size == len(BLOBS[blob])
            self.model.sure(tenant, digest, dict(info.labels))
        elif code is StatusCode.NOT_FOUND:
            assert digest not in self.model.held[tenant], "what was acknowledged is gone"
        else:
            self.model.unsure(tenant, digest)

    @rule(frontend=frontends, tenant=tenants, blob=blobs, label=st.sampled_from(["x", "y"]))
    def update(self, frontend: int, tenant: str, blob: int, label: str) -> None:
        """An Update replaces the labels of what is held."""
        digest = DIGESTS[blob]
        info, code = self.attempt(
            self.tenant(frontend, tenant).update(digest, {"l": label}, "labels"),
            StatusCode.NOT_FOUND,
        )
        if info is not None:
            self.model.held[tenant][digest] = {"l": label}
            self.model.maybe[tenant].discard(digest)
            if not self.late():
                self.model.labels_maybe.discard((tenant, digest))
        elif code is StatusCode.NOT_FOUND:
            assert digest not in self.model.held[tenant], "what was acknowledged is gone"
        else:
            self.model.labels_maybe.add((tenant, digest))

    @rule(frontend=frontends, tenant=tenants, blob=blobs, faults=spoilt)
    def delete(self, frontend: int, tenant: str, blob: int, faults: list[str]) -> None:
        """A Delete removes the tenant's hold and no other."""
        digest = DIGESTS[blob]
        plan = self.members[frontend].store
        plan.coming = faults
        done, code = self.attempt(self._deleted(frontend, tenant, digest))
        plan.coming = []
        self.model.held[tenant].pop(digest, None)
        # A stream that commits the same bytes, a frozen commit or a late hold may restore it.
        if code or self.late() or self._frozen(tenant):
            self.model.maybe[tenant].add(digest)
        elif done:
            self.model.maybe[tenant].discard(digest)
            self.model.labels_maybe.discard((tenant, digest))

    async def _deleted(self, frontend: int, tenant: str, digest: str) -> bool:
        await self.tenant(frontend, tenant).delete(digest)
        return True

    def late(self) -> bool:
        """Whether requests that were given up may still arrive."""
        return any(plan.late for plan in self.plans())

    def _frozen(self, tenant: str) -> bool:
        return any(
            self.admin.hexists(key, "frozen")
            for key in self.admin.scan_iter(f"holdfast:{{{tenant}}}:ingest:*")
        )

    @invariant()
    def books_are_right(self) -> None:
        """Acknowledged content is listed once, and every byte can be read."""
        with self.undisturbed(1):
            for tenant in TENANTS:
                self._check(tenant, whole=False)

    def _check(self, tenant: str, *, whole: bool) -> None:
        client = self.tenant(1, tenant)
        listed = self.run(client.list())
        digests = [info.digest for info in listed]
        assert len(digests) == len(set(digests))
        held = set(self.model.held[tenant])
        assert held <= set(digests), "what was acknowledged is gone"
        assert set(digests) - held <= self.model.maybe[tenant], "what nobody committed"
        for info in listed:
            if info.digest not in held:
                continue
            body = BLOBS[DIGESTS.index(info.digest)]
            start = PART - SEAM if len(body) > PART and not whole else 0
            size = 2 * SEAM if start else 0
            read = self.run(client.read(info.digest, start, size))
            assert read == body[start : start + size if size else None]
            if (tenant, info.digest) not in self.model.labels_maybe:
                assert dict(info.labels) == self.model.held[tenant][info.digest]

    def teardown(self) -> None:
        """Reads all held content completely, and stops the fleet."""
        try:
            with self.undisturbed(1):
                for tenant in TENANTS:
                    self._check(tenant, whole=True)
        finally:
            super().teardown()
