"""The version; setup.cfg has the same one, and a test compares them."""

from __future__ import annotations

__version__ = "0.2.0"
