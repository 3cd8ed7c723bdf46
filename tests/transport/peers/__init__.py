"""Foreign clients, and where `make tools` and `make tools-clients` put them."""
