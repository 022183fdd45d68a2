"""What the tests of finding share."""

from tests.transfer.sites import sites

__all__ = ["sites"]
