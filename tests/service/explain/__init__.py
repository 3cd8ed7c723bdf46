"""What is said of blobs and refs."""
