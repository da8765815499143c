"""`python -m methrics.node consent` shows and changes a person's answers, with any install."""

from __future__ import annotations

import sys

from methrics.node.base.main import main

sys.exit(main())
