"""The commands that `holdfast[server]` adds to the command line.

This room may import everything; nothing imports it.
"""
