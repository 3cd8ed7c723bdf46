"""Measurements: how fast, how large, against what. Not part of the tests."""
