"""AWS S3, and servers that speak like it: a bucket as a block, and tasks that move files."""

from prefect_atomic.integrations.s3.bucket import S3Bucket, resolve
from prefect_atomic.integrations.s3.stored import S3Object

__all__ = ["S3Bucket", "S3Object", "resolve"]
