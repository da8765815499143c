"""Keeps a fork of the process out of an import that another thread has begun.

Python locks each module while it is imported. A child that is forked meanwhile inherits the lock,
which no thread of the child releases, so its own import of that module would never end.
"""

from __future__ import annotations

from methrics.node.process.gate import Gate

loading = Gate()
"""To be held while a call of the recorder imports a module for the first time."""
