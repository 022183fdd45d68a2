"""What the settings are called, what they may be, and how they are written. Pure: text to values."""
