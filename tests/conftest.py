"""What all tests share: properties may take as long as a busy machine makes them."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("attestor", deadline=None)
settings.load_profile("attestor")
