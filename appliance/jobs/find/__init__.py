"""Finding: building the index, searching it, and saying what was looked at."""
