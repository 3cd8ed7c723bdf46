"""Go tests of a content store, containerd's own among them, on frontends of one store."""
