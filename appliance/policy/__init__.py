"""Decisions without I/O: which checkpoint to believe, and what it means for what we hold."""
