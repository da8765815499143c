"""SHA-256 (FIPS 180-4), without loading OpenSSL for it.

`hashlib` loads OpenSSL, which costs an app four megabytes of memory and some milliseconds. So this
module takes Python's built-in implementation, unless the process has loaded `hashlib` already:
OpenSSL's is faster for those who hash much, such as aggregators.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import sha256
else:
    for _name in ("hashlib",) if "hashlib" in sys.modules else ("_sha2", "_sha256", "hashlib"):
        try:
            sha256 = import_module(_name).sha256
        except (ImportError, AttributeError):  # the built-in module's name depends on the version
            continue
        break

__all__ = ["sha256"]
