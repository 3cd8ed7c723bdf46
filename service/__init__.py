"""Programs over storage and coordination: frontend, collector, scrub, and tenants' commands."""
