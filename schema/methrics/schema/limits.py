"""Every bound of the wire, with its unit and its reason. SPEC.md repeats the normative ones."""

from __future__ import annotations

REPORT_MAX = 1024
"""Bytes of one report, envelope included: about 500 reports fit in a bundle (DESIGN: wire rules)."""

CATALOG_MAX = 65_536
"""Bytes of one catalog item: half a bundle, so that a catalog always fits in one."""

ITEM_MAX = CATALOG_MAX
"""Bytes of the largest item of any kind."""

NOTICE_MAX = 4096
"""Bytes of one erasure, revocation or announcement."""

BUNDLE_AIM = 57_344
"""Bytes at which a relay closes a bundle: 250 reports of 225 bytes, the measured sweet spot."""

BUNDLE_MAX = 131_072
"""Bytes of one gossip message, the same on every node: a larger one would cut a peer off."""

BUNDLE_ITEMS_MAX = 1024
"""Items in one bundle: bounds the work one message can ask for."""

DEPTH_MAX = 8
"""Nesting of any CBOR we read: a catalog needs 6."""

TIME_STEP = 600
"""Seconds: every time on the wire is a multiple (KPI-3)."""

EARLY_MAX = 300
"""Seconds a report's time may lie in the future: the clock skew we tolerate."""

LATE_DEFAULT = 21 * 86_400
"""Seconds after which a live report is late, unless its type says otherwise: longest schedule plus holidays."""

HEARTBEAT_MAX = 256
"""Bytes of a heartbeat on the wire, signature and key included (MARS-11)."""
