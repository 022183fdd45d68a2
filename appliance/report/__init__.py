"""What the appliance says of itself: metrics. Reads the store, decides nothing."""
