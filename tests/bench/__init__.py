"""The measurements: what they make of what they found; nothing is measured here."""
