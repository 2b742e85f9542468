"""An S3 server on loopback, with a bucket `lake`: moto's, which speaks the real protocol.

python -m tests.s3 [PORT]     prints its address, and serves until it is killed
"""

import sys
import threading
from types import TracebackType
from typing import Any, Self

import boto3  # type: ignore[import-untyped] # it ships none
from moto.server import ThreadedMotoServer

BUCKET = "lake"
REGION = "us-east-1"
SECRET = "canary-secret-77b1"
"""It must come out nowhere."""


class S3:
    """The server, on a free port, in a thread of its own."""

    def __init__(self, port: int = 0) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
        self.endpoint = ""

    def __enter__(self) -> Self:
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"
        self.client().create_bucket(Bucket=BUCKET)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.stop()

    def client(self) -> Any:
        """Amazon's own client, another road to the same objects."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key=SECRET,
        )

    @property
    def options(self) -> dict[str, str]:
        """For `storage.options`, and for Polars' `storage_options`."""
        return {
            "endpoint": self.endpoint,
            "allow_http": "true",
            "region": REGION,
            "access_key_id": "test",
            "secret_access_key": SECRET,
        }

    def keys(self) -> list[str]:
        """Every object, in the order of names."""
        found = self.client().list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return [each["Key"] for each in found]


if __name__ == "__main__":
    with S3(int(sys.argv[1]) if len(sys.argv) > 1 else 0) as server:
        print(server.endpoint, flush=True)  # noqa: T201 - what a parent process reads
        threading.Event().wait()
