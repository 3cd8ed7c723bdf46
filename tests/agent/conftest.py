"""A fleet in front of which agents run."""

from __future__ import annotations

from tests.service.conftest import Fill, fill, folder_fleet, folder_store, store, tenant

__all__ = ["Fill", "fill", "folder_fleet", "folder_store", "store", "tenant"]
