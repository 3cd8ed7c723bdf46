"""The frontend, as its clients and its operators see it."""
