"""Model A's words and rules: what must be so, each of them broken once by a test."""

from __future__ import annotations

from typing import NamedTuple

ATTEMPTS = 3
LIVE, CONDEMNED, TOMBSTONE, CORRUPT = "live", "condemned", "tombstone", "corrupt"
READABLE = (LIVE, CONDEMNED)
INLINE = "i"
"""How the data keys of ingests begin whose bytes are in the record."""
TOO_OLD = "too old"
UNSEEN = "not seen lately"
"""Why a record isn't sent: its data was last seen complete too long ago."""
FAILED = "failed"
OR_NOTHING = ", or nothing"
"""What is asked of a listing of holds that may come back empty, wrongly."""
GONE, WRONG = "gone", "wrong"
"""What the disk has done to a record's bytes: there are none, or they aren't the digest's."""
KNOWN = "known to be bad"
"""The bytes are bad, and the frontends know it, though no mark says so."""
MISTAKEN = "marked by mistake"
"""A sick machine has marked the record; its bytes are good."""


class Record(NamedTuple):
    """A record; being its whole body, it is its ETag too."""

    state: str
    key: str
    nonce: str
    damage: str = ""
    """`WRONG` stands for size and block sums of other bytes."""

    def turned(self, state: str, nonce: str) -> Record:
        """The same bytes in another state."""
        return self._replace(state=state, nonce=nonce)


class Rules(NamedTuple):
    """What the protocol lives by; a broken variant differs in one of them."""

    hold: str = "before"
    """A commit's hold is confirmed "before" its record is sent, "beside" or "after" it."""
    data_first: bool = True
    """The bytes are complete before the record is sent."""
    compares: bool = True
    """A record is only written over what was read."""
    looks_after_no_reply: bool = True
    """No reply to a record's PUT is no yes."""
    confirms_holds: bool = True
    """No reply to a hold's PUT is no yes."""
    pardons: bool = True
    """Who counts on a condemned record makes it live first."""
    publish_looks: bool = True
    """A commit gives its bytes up only for bytes that are there, and say the same."""
    publish_minds_sums: bool = True
    refuses_dead_bytes: bool = True
    """A record isn't revived on its own bytes, once they were given up."""
    redrive_finds_bytes: bool = True
    """One object that another frontend was to put must be there."""
    looks_after_complete: bool = True
    """No reply to a completion is no yes."""
    redrive_looks: bool = True
    """A frozen commit that took effect isn't carried out again."""
    adopt_reads_after: bool = True
    fresh_names: bool = True
    fresh_redrive_name: bool = True
    redrive_finds_hold: bool = True
    """A hold of the same commit that is there without a mark isn't made again."""
    rolls_back: bool = False
    held_reads_record: bool = True
    held_lists_first: bool = True
    """A listed hold counts if the record is live *after* the listing."""
    held_minds_marks: bool = True
    remembered_looks: bool = True
    """What the cache remembers spares no bytes unless they are there."""
    marks: bool = True
    stops_unmarked: bool = True
    stops_undeleted: bool = True
    """A mark stays where the DELETE of its hold wasn't confirmed."""
    unmarks_last: bool = True
    revives: bool = False
    buries_live: bool = False
    second_listing: bool = True
    etag_before_listing: bool = True
    lifetime: bool = True
    looks_again: bool = True
    """A record's data was seen complete a short while before the record is sent."""
    data_before_records: bool = True
    longer_than_life: bool = True
    longer_than_landing: bool = True
    same_nonce: bool = True
    compacts_by_marks: bool = True
    """A hold that goes by a compaction has a mark first."""
    compacts_by_sight: bool = True
    """The hold that stays is seen without a mark after the others have theirs."""
    counts_marks: bool = True
    """A collector counts a mark as a hold."""
    sweeps_marks: bool = True
    """Marks without holds are removed."""
    sweep_lists_again: bool = True
    """A mark's digest is listed afresh before its delete is ended."""
    minds_known: bool = True
    """Nobody counts on bytes that are known to be bad."""
    mark_looks_twice: bool = True
    mark_minds_bytes: bool = True
    """The record that is marked names the very bytes that were found bad."""
    mark_compares: bool = True
    restore_compares: bool = True
    restore_reads_bytes: bool = True
    restore_spares_tombstones: bool = True
    two_keys: bool = True
    """Data goes only if an earlier run has found it unnamed."""
    found_again: bool = True
    """… and if this one does, too."""
    removes_by_etag: bool = True
    """A tombstone goes by a DELETE of that very record."""
    removes_without_data: bool = True
    """… when its data is gone, …"""
    removes_twice_read: bool = True
    """… and an earlier run has read it as one, too."""
    pardons_held: bool = True
    """A run pardons what it finds held and condemned."""
    reads_changed: bool = True
    """A held record is read whose ETag isn't the known one, …"""
    reads_condemned: bool = True
    """… and one that is known to be condemned, though no data is old."""
    finishes_deletes: bool = False
    """Holds beside an old mark are deleted."""
