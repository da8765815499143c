"""The limits of the wire format, each with its unit and reason. SPEC.md is normative."""

from __future__ import annotations

REPORT_MAX = 1024
"""The most bytes of a report with its envelope: hundreds of reports fit in a bundle."""

CATALOG_MAX = 65_536
"""The most bytes of a catalog's item: half a bundle, so that a catalog always fits in a bundle."""

ITEM_MAX = CATALOG_MAX
"""The most bytes of an item of any kind."""

NOTICE_MAX = 4096
"""The most bytes of one erasure or announcement."""

RECORD_MAX = 16_384
"""The most bytes of a record's item: 32 catalogs and some hundred revoked event types."""

MANIFEST_MAX = 1024
"""The most bytes of a manifest's item, which has at most 371 now."""

DESCRIPTOR_MAX = 16_384
"""The most bytes of a descriptor's item: 256 topics of some 50 bytes, and all else."""

DOORS_MAX = 8
"""The most addresses of a descriptor: some networks, and some ways to talk on each."""

KEY_CONFIG_MAX = 255
"""The most bytes of an encoded key configuration; one with X25519 and one suite has 41."""

CARRIED_MAX = 256
"""The most topics of a relay, and so of its descriptor."""

TOPIC_NAME_MAX = 128
"""The most bytes of the name of a topic in a descriptor."""

COUNTED_MAX = 2**53 - 1
"""The most reports or erasures that a manifest counts: a number that every language can hold."""

RECORD_PREVIOUS_MAX = 4
"""The most records that a record names as the ones before it: one, or those that it reconciles."""

LISTED_MAX = 32
"""The most catalogs that a record lists: 5 bits of what a report's catalog id can tell."""

REVOKED_MAX = 256
"""The most event types that a record revokes: the types of some catalogs."""

ISSUERS_MAX = 8
"""The most issuer keys of a record, which are reserved for a later version."""

BUNDLE_AIM = 57_344
"""Bytes at which a relay closes a bundle: 250 reports of 225 bytes, the fastest size measured."""

BUNDLE_MAX = 131_072
"""The most bytes of one gossip message. libp2p disconnects a peer that sends a larger one."""

BUNDLE_ITEMS_MAX = 1024
"""The most items in one bundle, so that one message causes limited work."""

DEPTH_MAX = 8
"""The deepest nesting of CBOR on the wire: a catalog needs 6."""

TIME_STEP = 600
"""Seconds: every time in a report is a multiple of this (KPI-3)."""

EARLY_MAX = 300
"""Seconds that a report's time may lie in the future: the tolerated clock skew."""

LATE_DEFAULT = 21 * 86_400
"""Seconds after which a live report is late, unless its type declares another `lateness`.

Covers the longest release schedule and a holiday.
"""

HEARTBEAT_MAX = 256
"""The most bytes of a heartbeat on the wire, with signature and key (MARS-11)."""

DAY = 86_400
"""Seconds: an announcement may not ask for reports more often than this (MARS-13)."""

TIME_MAX = 253_402_300_799
"""The latest time, in Unix seconds: the end of 9999. Many calendars and databases end there."""

WORD_MAX = 64
"""The most bytes of a name, version or selector value in an announcement."""

REASON_MAX = 200
"""The most bytes of the reason of a revocation or of an address; each is one line."""

NEWS_TEXT_MAX = 500
"""The most bytes of one piece of news, which is shown in a terminal."""

ANNOUNCED_MAX = 8
"""The most pieces of news, the most relays and the most selected facts in one announcement."""

SELECTED_MAX = 32
"""The most accepted values of one fact in a selector."""

ENVELOPE_SIZE = 112
"""Bytes of an item besides its payload and the payload's CBOR head: 1 + 44 + 1 + 66."""

STAMP_SIZE = 14
"""The most bytes that a work stamp adds to an item: its key in the protected header and a nonce of
64 bits."""

QUESTION_MAX = 240
"""The most bytes of an event type's question: one sentence."""

WHY_MAX = 480
"""The most bytes of an event type's reason: two sentences."""

CONTACT_MAX = 200
"""The most bytes of a contact, an owner, a review link or the address of the results."""

TYPES_MAX = 64
"""The most event types of one catalog."""

STEPS_MAX = 32
"""The most declared steps of a sequence, and the most steps in one report."""

ENTROPY_MAX = 28
"""Bits: the most different reports of one event type, time apart, and its largest entropy budget.
2^28 is a thirtieth of the people on Earth (docs/decisions/0014-28-bits.md)."""

WORK_MAX = 24
"""The largest `work` of an event type, in bits: it takes seconds on a desktop computer, and a
minute on a small board."""

DELAY_MIN = 300
"""The least seconds between an event and its report (MIM-7)."""

EVERY_MIN = 3600
"""The least seconds between two reports of a state that a catalog may declare (MIM-7)."""

RETENTION_MAX = 3653
"""The most days that a report may be kept: ten years."""

PERIOD_MAX = 366 * 86_400
"""The most seconds of a delay, interval, jitter, window or lateness: a leap year."""
