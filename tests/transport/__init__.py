"""The transport proves itself against foreign programs, a reference, attacks and chance."""
