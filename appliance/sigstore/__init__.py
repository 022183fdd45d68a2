"""Verifying Sigstore bundles offline from bytes alone. Pure, no I/O."""
