"""Redis: who writes which ref and how far they are, and what a tenant holds."""
