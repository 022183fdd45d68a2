"""Finding: index, entries search."""
