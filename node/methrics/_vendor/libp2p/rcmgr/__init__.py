"""Resource manager package exports.

Expose the small set of public symbols the rest of the codebase and tests
import from ``libp2p.rcmgr`` so callers can do e.g.::

	from methrics._vendor.libp2p.rcmgr import Direction, ResourceManager, new_resource_manager

This keeps the package import surface explicit and stable.
"""
from methrics._vendor.libp2p._absent import absent

from .metrics import Direction
ResourceLimits = absent("libp2p.rcmgr.manager.ResourceLimits")
ResourceManager = absent("libp2p.rcmgr.manager.ResourceManager")
new_resource_manager = absent("libp2p.rcmgr.manager.new_resource_manager")
from .exceptions import ResourceScopeClosed

__all__ = [
	"Direction",
	"ResourceLimits",
	"ResourceManager",
	"new_resource_manager",
	"ResourceScopeClosed",
]
