"""Commands on all tenants of a fleet."""
