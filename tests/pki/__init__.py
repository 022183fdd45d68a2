"""A throwaway Sigstore instance in memory: authorities, logs, stamps, bundles, trusted root.

Everything is made with fresh keys at a fixed date, so that a test can change any one thing
and nothing else. scripts/test-pki writes one to disk.
"""
