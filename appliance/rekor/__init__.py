"""Rekor's own formats, v1 and v2: entries, requests, log entry answers. Pure, no I/O."""
