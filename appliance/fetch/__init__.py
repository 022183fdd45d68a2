"""The only code that opens a network connection (DESIGN.md, Where the world comes in)."""
