"""The collector: finds content that no hold or record names any more, and removes it.

Any number of collectors may run concurrently, and each may die at any request: all progress is in
the records' own states, which are changed by compare-and-swap, and each run begins from what it
finds. The passes are safe because of their order, which docs/collector.md explains.

This room may import pairing, core, backends, ingest, holdings, store, process, settings, storage
and coordination. The rooms `tenants`, `explain` and `commands` use it.
"""
