"""What the settings are called, what they may be, how they are written. Pure: text to values."""
