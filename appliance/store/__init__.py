"""The only SQL and the only files: one SQLite database plus content-addressed blobs."""
