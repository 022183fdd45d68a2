"""Finding: the index of mirrored entries, a derived file beside the store."""
