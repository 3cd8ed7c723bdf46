"""Real containerd daemons whose content store is Holdfast."""
