"""`python -m methrics.aggregate` is the `methrics` command."""

from __future__ import annotations

import sys

from methrics.aggregate.cli.main import main

sys.exit(main())
