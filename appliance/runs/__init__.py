"""What one invocation does, in order, with one Session; each run returns a report."""
