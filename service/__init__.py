"""The frontend: containerd's Content API over storage and coordination."""
