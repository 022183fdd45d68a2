"""The only code that opens a network connection."""
