"""The publisher, for apps that run it themselves: as a task of a trio app, or in a thread.

`python -m methrics.node.publisher` runs the publisher as a process of its own.
"""

from __future__ import annotations

from methrics.node.publish.publisher import (
    PublisherSettings,
    keep_publishing,
    run_publisher,
    start_thread,
)

__all__ = ["PublisherSettings", "keep_publishing", "run_publisher", "start_thread"]

if __name__ == "__main__":
    import os
    import sys

    from methrics.node.publish.process import main

    os.umask(0o077)
    sys.exit(main())
