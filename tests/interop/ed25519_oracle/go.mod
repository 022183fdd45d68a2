module attestor.example/ed25519-oracle

go 1.21
