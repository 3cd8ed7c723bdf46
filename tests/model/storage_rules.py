"""Model A's terms and rules: what must be true; a test breaks each rule once."""

from __future__ import annotations

from typing import NamedTuple

ATTEMPTS = 3
LIVE, CONDEMNED, TOMBSTONE, CORRUPT = "live", "condemned", "tombstone", "corrupt"
READABLE = (LIVE, CONDEMNED)
INLINE = "i"
"""The beginning of data keys of ingests whose bytes are in the record."""
TOO_OLD = "too old"
UNSEEN = "not seen lately"
"""Why a record isn't sent: its data was last seen complete too long ago."""
FAILED = "failed"
OR_NOTHING = ", or nothing"
"""Marks the request of a listing of holds that may wrongly come back empty."""
FRESH, AGED, OFF = "fresh", "aged", "off"
"""A marker of retention: the blob is retained, or not any longer; or collectors retain nothing."""
WARMING, WARMED = "warming", "warmed"
"""A blob is being retained anew; or whoever asked for it was told that it is."""
GONE, WRONG = "gone", "wrong"
"""What the disk did to a record's bytes: they are gone, or don't match the digest."""
KNOWN = "known to be bad"
"""The bytes are bad and the frontends know it, but the record isn't marked."""
MISTAKEN = "marked by mistake"
"""A faulty machine has marked the record, whose bytes are good."""


class Record(NamedTuple):
    """A record; since it is its whole body, it serves as its ETag too."""

    state: str
    key: str
    nonce: str
    damage: str = ""
    """`WRONG` means that it has the size and block sums of other bytes."""

    def turned(self, state: str, nonce: str) -> Record:
        """The same bytes in another state."""
        return self._replace(state=state, nonce=nonce)


class Rules(NamedTuple):
    """The rules of the protocol; a broken variant differs in one of them."""

    hold: str = "before"
    """A commit's hold is confirmed "before" its record is sent, "beside" or "after" it."""
    data_first: bool = True
    """The bytes are complete before the record is sent."""
    compares: bool = True
    """A record replaces only what was read."""
    looks_after_no_reply: bool = True
    """No reply to a record's PUT doesn't count as success."""
    confirms_holds: bool = True
    """No reply to a hold's PUT doesn't count as success."""
    pardons: bool = True
    """An operation that relies on a condemned record makes it live first."""
    publish_looks: bool = True
    """A commit discards its bytes only if the record's are there and are the same."""
    publish_minds_sums: bool = True
    refuses_dead_bytes: bool = True
    """A record isn't revived on its own bytes after they were given up."""
    redrive_finds_bytes: bool = True
    """A single object that another frontend should have written must exist."""
    looks_after_complete: bool = True
    """No reply to a completion doesn't count as success."""
    redrive_looks: bool = True
    """A frozen commit that took effect isn't repeated."""
    adopt_reads_after: bool = True
    flights_are_advice: bool = True
    """A writer that was told of a commit looks at the record as any other one does."""
    fresh_names: bool = True
    fresh_redrive_name: bool = True
    redrive_finds_hold: bool = True
    """A commit doesn't make its hold again if that exists without a mark."""
    rolls_back: bool = False
    held_reads_record: bool = True
    held_lists_first: bool = True
    """A listed hold counts if the record is live *after* the listing."""
    held_minds_marks: bool = True
    remembered_looks: bool = True
    """A cached hold saves sending the bytes only if the bytes are there."""
    marks: bool = True
    stops_unmarked: bool = True
    stops_undeleted: bool = True
    """A mark stays if the DELETE of its hold wasn't confirmed."""
    unmarks_last: bool = True
    revives: bool = False
    buries_live: bool = False
    second_listing: bool = True
    etag_before_listing: bool = True
    lifetime: bool = True
    looks_again: bool = True
    """A record is sent only shortly after its data was seen complete."""
    data_before_records: bool = True
    longer_than_life: bool = True
    longer_than_landing: bool = True
    same_nonce: bool = True
    compacts_by_marks: bool = True
    """A compaction marks a hold before it deletes it."""
    compacts_by_sight: bool = True
    """The hold that stays is seen unmarked after the others are marked."""
    counts_marks: bool = True
    """A collector counts a mark as a hold."""
    sweeps_marks: bool = True
    """Marks without holds are removed."""
    sweep_lists_again: bool = True
    """A mark's digest is listed again before its delete is ended."""
    minds_known: bool = True
    """No operation relies on bytes that are known to be bad."""
    mark_looks_twice: bool = True
    mark_minds_bytes: bool = True
    """A record is marked only if it names exactly the bytes that were found bad."""
    mark_compares: bool = True
    restore_compares: bool = True
    restore_reads_bytes: bool = True
    restore_spares_tombstones: bool = True
    two_keys: bool = True
    """Data is deleted only if an earlier run found it unnamed …"""
    found_again: bool = True
    """… and this run does too."""
    removes_by_etag: bool = True
    """A tombstone is removed by a DELETE of exactly that record …"""
    removes_without_data: bool = True
    """… when its data is gone, …"""
    removes_twice_read: bool = True
    """… and an earlier run has read it as one too."""
    pardons_held: bool = True
    """A run pardons a record that it finds held and condemned."""
    reads_changed: bool = True
    """A run reads a held record whose ETag isn't the known one …"""
    reads_condemned: bool = True
    """… and one that is known to be condemned, even if no data is old."""
    retains_by_holds: bool = True
    """However old a marker is, a record is condemned only if no hold was listed …"""
    marker_is_no_key: bool = True
    """… and buried only if an earlier run has condemned it."""
    warm_writes: bool = True
    """What is warmed has its record written anew, so that no earlier look at it counts."""
    minds_writes: bool = True
    """A record that was written after its marker is retained from then on."""
    outlived_go: bool = True
    """A run removes the marker of what it finds held."""
    finishes_deletes: bool = False
    """Holds with an old mark are deleted."""
