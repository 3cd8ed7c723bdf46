"""A gRPC server over HTTP/2 for asyncio, which knows no content, no S3 and no Redis."""
