"""Object stores for tests: in memory, or over another one that is watched, spoilt or filled."""
