"""The publisher, for apps that run it themselves: as a task of a trio app, or in a thread.

`python -m methrics.node.publisher` runs the publisher as a process of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from methrics.schema.lazy import front

if TYPE_CHECKING:
    from methrics.node.publish.publisher import (
        PublisherSettings,
        keep_publishing,
        run_publisher,
        start_thread,
    )

__all__ = ["PublisherSettings", "keep_publishing", "run_publisher", "start_thread"]

__getattr__, __dir__ = front(__name__, dict.fromkeys(__all__, "methrics.node.publish.publisher"))

if __name__ == "__main__":
    import sys

    from methrics.node.publish.launch import main

    sys.exit(main())
