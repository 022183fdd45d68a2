"""Proven copies of logs: backends, sync, tiles, checkpoints, proofs."""
