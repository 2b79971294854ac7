"""Where the checkout lies, and the folder of real pictures and clips beside it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
