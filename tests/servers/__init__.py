"""The real servers that tests run against, each started for the tests alone."""
