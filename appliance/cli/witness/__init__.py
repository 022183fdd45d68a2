"""Commands of a witness."""
