"""Code for the type checker alone: it is checked, and never run."""
