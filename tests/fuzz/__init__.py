"""Random changes of real values, for every parser that reads what others wrote."""
