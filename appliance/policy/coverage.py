"""How much of a tree its stored tiles cover: level 0 tiles count."""

from __future__ import annotations

from appliance.value import frozen


@frozen
class Coverage:
    """Level 0 tiles, or entry bundles, of a tree: here, and in all."""

    tree_size: int  # leaves of the accepted checkpoint
    present: int  # as wide as that tree has them
    expected: int

    @property
    def percent(self) -> float:
        """From 0 to 100 with one digit after the point; 100 only if nothing is missing."""
        if self.present == self.expected:
            return 100.0
        return self.present * 1000 // self.expected / 10

    def __str__(self) -> str:
        return f"{self.percent:.1f}% ({self.tree_size:,})"
