module attestor.example/re2-oracle

go 1.21
