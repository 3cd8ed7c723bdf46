"""What a fleet asks of S3 and Redis, and what that costs."""
