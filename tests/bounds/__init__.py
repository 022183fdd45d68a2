"""What an outsider claims never decides how long or how much: sizes, times, lengths."""
