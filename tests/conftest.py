"""Tests import the library and the entry scripts as `scripts/` has them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
