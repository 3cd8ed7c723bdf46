"""The commands that a frontend's packages add to the command line.

This room may import everything; nothing imports it.
"""
