"""Holdfast beside its peers: pairs, interleaved in one run on one machine."""
