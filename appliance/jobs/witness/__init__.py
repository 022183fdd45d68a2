"""Being a witness: cosigning what other logs sign."""
