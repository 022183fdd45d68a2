"""A log of our own."""
