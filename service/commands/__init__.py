"""The commands that a frontend's packages add to the command line.

May import everything; nothing imports them.
"""
