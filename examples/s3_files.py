"""Files, streams and what is new in a bucket.

Needs an S3 server: the bucket's name in S3_BUCKET, and what AWS's standard chain reads, such as AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY; S3_ENDPOINT for a server that is not AWS's.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from prefect_atomic import S3Bucket


def lines() -> Iterator[bytes]:
    for number in range(1000):
        yield f"{number}\n".encode()


def main() -> None:
    bucket = S3Bucket(
        bucket=os.environ["S3_BUCKET"], folder="prefect-atomic-example", endpoint_url=os.environ.get("S3_ENDPOINT")
    )
    _, cursor = bucket.new_objects()
    with TemporaryDirectory() as folder:
        file = Path(folder) / "report.txt"
        file.write_text("a report")
        bucket.upload_from_path(file, "2026/report.txt")
        bucket.write_stream("2026/lines.txt", lines())
        back = bucket.download_object_to_path("2026/report.txt", Path(folder) / "back.txt")
        print(back.read_text(), bucket.head("2026/report.txt").sha256)
    print("new:", sorted(each.key for each in bucket.new_objects(cursor).objects))
    for each in bucket.list_objects("2026/"):
        bucket.delete_object(each)


if __name__ == "__main__":
    main()
