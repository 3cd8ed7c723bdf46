"""Tests of which store and which Redis belong together."""
