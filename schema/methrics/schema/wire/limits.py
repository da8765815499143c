"""The limits of the wire format, each with its unit and reason. SPEC.md has the normative ones."""

from __future__ import annotations

REPORT_MAX = 1024
"""Bytes of one report, envelope included: hundreds of reports fit in a bundle."""

CATALOG_MAX = 65_536
"""Bytes of one catalog item: half a bundle, so that a catalog always fits in one."""

ITEM_MAX = CATALOG_MAX
"""Bytes of the largest item of any kind."""

NOTICE_MAX = 4096
"""Bytes of one erasure, revocation or announcement."""

BUNDLE_AIM = 57_344
"""Bytes at which a relay closes a bundle: 250 reports of 225 bytes, the fastest size measured."""

BUNDLE_MAX = 131_072
"""Bytes of one gossip message. libp2p cuts off a peer that sends a larger one."""

BUNDLE_ITEMS_MAX = 1024
"""Items in one bundle: limits the work that one message can cause."""

DEPTH_MAX = 8
"""Nesting of any CBOR we read: a catalog needs 6."""

TIME_STEP = 600
"""Seconds: every time on the wire is a multiple of this (KPI-3)."""

EARLY_MAX = 300
"""Seconds that a report's time may lie in the future: the tolerated clock skew."""

LATE_DEFAULT = 21 * 86_400
"""Seconds after which a live report is late, unless its type declares another `lateness`.

Covers the longest release schedule and a holiday.
"""

HEARTBEAT_MAX = 256
"""Bytes of a heartbeat on the wire, signature and key included (MARS-11)."""

DAY = 86_400
"""Seconds: an announcement may not ask for reports more often than this (MARS-13)."""

TIME_MAX = 253_402_300_799
"""Unix seconds: the end of the year 9999, the last that calendars and databases agree on."""

WORD_MAX = 64
"""Bytes of a name, version or selector value in a notice."""

REASON_MAX = 200
"""Bytes of a revocation's reason or of an address; each is one line."""

NEWS_TEXT_MAX = 500
"""Bytes of one piece of news: it is shown in a terminal."""

ANNOUNCED_MAX = 8
"""Pieces of news, relays or selected facts in one announcement."""

SELECTED_MAX = 32
"""Accepted values of one fact in a selector."""

ENVELOPE_SIZE = 112
"""Bytes of an item besides its payload and the payload's CBOR head: 1 + 44 + 1 + 66."""

STAMP_SIZE = 14
"""Most bytes that a work stamp adds: its key in the protected header and a nonce of 64 bits."""

QUESTION_MAX = 240
"""Bytes of an event type's question: one sentence."""

WHY_MAX = 480
"""Bytes of an event type's reason: two sentences."""

CONTACT_MAX = 200
"""Bytes of a contact, an owner or a review link."""

TYPES_MAX = 64
"""Event types of one catalog."""

STEPS_MAX = 32
"""Declared steps of a sequence, and steps in one report of it."""

ENTROPY_MAX = 64
"""Bits: the largest entropy budget an event type may declare."""

WORK_MAX = 24
"""Largest `work` of an event type, in bits: seconds on a desktop, a minute on a small board."""

DELAY_MIN = 300
"""Least seconds between an event and its report (MIM-7)."""

EVERY_MIN = 3600
"""Least seconds between two reports of a state that a catalog may declare (MIM-7)."""

RETENTION_MAX = 3653
"""Most days that a report may be kept: ten years."""

PERIOD_MAX = 366 * 86_400
"""Seconds of the longest delay, interval, jitter, window or lateness."""
