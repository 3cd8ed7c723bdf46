"""Alert rules, tried by promtool and by a real Prometheus, and the runbooks that they name."""
