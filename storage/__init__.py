"""S3 and its stand-in on local disk: data objects, records, holds, tails, uploads."""
