"""What each call asks of S3 and of Redis.

`tests/service/test_request_counts.py` plays every one of them and counts on the wire.
What frontends do by the clock isn't here: progress (at most one request to Redis for
each stream that moves, every 150 ms), leases, who was seen.
"""

from __future__ import annotations

from typing import Final

from bench.capacity.requests import Requests

COUNTS: Final[dict[str, Requests]] = {
    "Info, hot": Requests({}, {"hold_look_up": 1}),
    "Info, cold, ≤ 64 KiB": Requests(
        {"get blobs": 2, "get holds": 1, "list holds": 1}, {"hold_fill": 1, "hold_look_up": 1}
    ),
    "Info, cold": Requests(
        {"get blobs": 2, "get holds": 1, "head data": 1, "list holds": 1},
        {"hold_fill": 1, "hold_look_up": 1},
    ),
    "Info, adopting, ≤ 64 KiB": Requests(
        {"get blobs": 3, "list holds": 1, "put holds": 1}, {"hold_fill": 1, "hold_look_up": 1}
    ),
    "Info, adopting": Requests(
        {"get blobs": 3, "head data": 1, "list holds": 1, "put holds": 1},
        {"hold_fill": 1, "hold_look_up": 1},
    ),
    "Info, NOT_FOUND": Requests({"get blobs": 1}, {"hold_look_up": 1}),
    "Update": Requests(
        {"get blobs": 1, "get holds": 1, "list holds": 1, "put holds": 1},
        {"change_begin": 1, "change_end": 1},
    ),
    "List of nothing": Requests({"list holds": 1}),
    "List of 3": Requests({"get holds": 3, "list holds": 1}),
    "List of 3, again": Requests({"list holds": 1}),
    "Delete": Requests(
        {"delete holds": 2, "list holds": 1, "put holds": 1},
        {"change_begin": 1, "change_confirm": 1, "change_end": 1},
    ),
    "Delete of what isn't held": Requests({"list holds": 1}, {"change_begin": 1, "change_end": 1}),
    "Read, hot, ≤ 64 KiB": Requests(),
    "Read, hot, 20 MiB": Requests(),
    "Read, cold, ≤ 64 KiB": Requests({"get blobs": 1}),
    "Read, cold, 1 MiB": Requests({"get blobs": 1, "get data": 1}),
    "Read, cold, 20 MiB": Requests({"get blobs": 1, "get data": 5}),
    "Read of 32 KiB in the middle, cold": Requests({"get blobs": 1, "get data": 1}),
    "Unpack of 8 MiB, cold: Info, 256 Reads": Requests(
        {"get blobs": 1, "get data": 2}, {"hold_look_up": 1}
    ),
    "Unpack of 8 MiB, hot: Info, 256 Reads": Requests({}, {"hold_look_up": 1}),
    "Write: first STAT": Requests({}, {"open": 1}),
    "Write: further STAT": Requests(),
    "Write: 2,000 WRITEs of 240 bytes": Requests(),
    "Write: WRITE of 1 MiB": Requests(),
    "Write: WRITEs of one part, 8 MiB": Requests({"part data": 1}, {"checkpoint": 1}),
    "Write: broken off": Requests({"put tails": 1}, {"ending": 1, "release": 1, "save tail": 1}),
    "Write: continued elsewhere": Requests({"get tails": 1}, {"open": 1}),
    "Write: COMMIT, ≤ 64 KiB": Requests(
        {"put blobs": 1, "put holds": 1}, {"forget": 1, "freeze": 1}
    ),
    "Write: COMMIT, one object": Requests(
        {"put blobs": 1, "put data": 1, "put holds": 1}, {"forget": 1, "freeze": 1}
    ),
    "Write: COMMIT, parts": Requests(
        {"complete data": 1, "put blobs": 1, "put holds": 1},
        {"get arrived": 1, "forget": 1, "freeze": 1, "set arrived": 1},
    ),
    "Write: COMMIT of what the fleet has, ≤ 64 KiB": Requests(
        {"get blobs": 2, "get holds": 1, "list holds": 2, "put blobs": 1, "put holds": 1},
        {"forget": 1, "freeze": 1, "hold_look_up": 1},
    ),
    "Write: COMMIT of what the fleet has, one object": Requests(
        {
            "get blobs": 2,
            "get holds": 1,
            "head data": 1,
            "list holds": 2,
            "put blobs": 1,
            "put data": 1,
            "put holds": 1,
        },
        {"forget": 1, "freeze": 1, "hold_look_up": 1},
    ),
    "Write: COMMIT of what the fleet has, parts": Requests(
        {
            "delete data": 1,
            "get blobs": 4,
            "head data": 1,
            "list holds": 2,
            "parts data": 1,
            "put holds": 1,
        },
        {"forget": 1, "hold_look_up": 1, "release": 1, "take_turn": 1},
    ),
    "Write: ALREADY_EXISTS, hot": Requests(
        {"get blobs": 1, "head data": 1},
        {"forget": 1, "hold_look_up": 1, "open": 1, "release": 1},
    ),
    "Write: ALREADY_EXISTS, cold": Requests(
        {"get blobs": 2, "get holds": 1, "head data": 1, "list holds": 1},
        {"forget": 1, "hold_fill": 1, "hold_look_up": 1, "open": 1, "release": 1},
    ),
    "Write, whole, 4 KiB": Requests(
        {"put blobs": 1, "put holds": 1},
        {"forget": 1, "freeze": 1, "open": 1},
    ),
    "Write, whole, 1 MiB": Requests(
        {"put blobs": 1, "put data": 1, "put holds": 1},
        {"forget": 1, "freeze": 1, "open": 1},
    ),
    "Write, whole, 20 MiB (3 parts)": Requests(
        {"complete data": 1, "create data": 1, "part data": 3, "put blobs": 1, "put holds": 1},
        {
            "checkpoint": 3,
            "get arrived": 1,
            "forget": 1,
            "freeze": 1,
            "open": 1,
            "set arrived": 1,
        },
    ),
    "Write, whole, 4 KiB, not asked for before": Requests(
        {"get blobs": 1, "put blobs": 1, "put holds": 1},
        {"forget": 1, "freeze": 1, "hold_look_up": 1, "open": 1},
    ),
    "Write, whole, 20 MiB, not asked for before": Requests(
        {
            "complete data": 1,
            "create data": 1,
            "get blobs": 1,
            "part data": 3,
            "put blobs": 1,
            "put holds": 1,
        },
        {
            "checkpoint": 3,
            "get arrived": 1,
            "forget": 1,
            "freeze": 1,
            "hold_look_up": 1,
            "open": 1,
            "set arrived": 1,
        },
    ),
    "Status": Requests({}, {"find": 1}),
    "ListStatuses": Requests({}, {"find": 1, "zrange": 1}),
    "Abort": Requests({"delete data": 1, "delete tails": 1, "parts data": 1}, {"abort": 1}),
    "Abort of an unknown ref": Requests({}, {"abort": 1}),
}
