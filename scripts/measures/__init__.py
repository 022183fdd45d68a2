"""What scripts/bench measures, by subject; each function yields values beside their targets."""
