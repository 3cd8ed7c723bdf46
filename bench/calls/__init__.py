"""How much of our code one RPC runs through: calls, files, and changes of file."""
