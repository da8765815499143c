"""The names of the routes by which a report can leave this machine."""

from __future__ import annotations

ROUTES = ("relay", "direct")
"""The route that hides most is first. `direct` reveals the network address to peers, so it is never
a default."""
