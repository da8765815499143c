"""Makes tools/ importable: the tests run notebooks with the tool that writes their outputs."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
