"""What maintainers run: `make` calls these."""
