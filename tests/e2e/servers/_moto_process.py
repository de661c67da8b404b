"""The process behind :mod:`.moto`; run as a program, never imported by the tests."""

from __future__ import annotations

import json
import os
import sys

from moto.server import ThreadedMotoServer


def main() -> None:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    sys.stdout.write(json.dumps({"port": server.get_host_and_port()[1]}) + "\n")
    sys.stdout.flush()
    sys.stdin.buffer.read()  # until the tests end
    os._exit(0)  # at once: an orderly stop of werkzeug waits for half a second


if __name__ == "__main__":
    main()
