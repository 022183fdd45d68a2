"""The command line: parses, calls one job, prints. Nothing here decides anything."""
