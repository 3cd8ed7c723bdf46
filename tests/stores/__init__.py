"""Object stores for tests: in memory, or around another store to watch, damage or fill it."""
