"""Attestor: an offline verification appliance for Sigstore Rekor transparency logs."""

__version__ = "0.1.0"
