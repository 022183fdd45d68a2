"""One use case a module: read, decide (pure), write. The network is an argument."""
