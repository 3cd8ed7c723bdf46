"""The real servers that tests run against, started only for the tests."""
