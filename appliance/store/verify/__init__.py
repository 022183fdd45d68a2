"""Signed artifacts: verification, trust roots, verdicts."""
