"""Keeps a fork of the process out of an import that another thread has begun.

Python locks each module while it is imported. A child that is forked meanwhile inherits the lock,
which no thread of the child releases, so its own import of that module would never end.
"""

from __future__ import annotations

import os
import threading

loading = threading.RLock()
"""To be held while a call of the recorder imports a module for the first time; a fork waits for it.
"""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=loading.acquire, after_in_parent=loading.release, after_in_child=loading.release
    )
