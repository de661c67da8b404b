"""`python -m prefect_atomic.sandbox --port N`: prints one line of JSON with the URL when ready, then serves."""

import argparse
import json
import sys


def main() -> int:
    """Runs the sandbox until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m prefect_atomic.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="the port on 127.0.0.1; 0 for any that is free")
    parser.add_argument("--parent", type=int, default=None, help="stop when the parent process is not this one")
    arguments = parser.parse_args()
    try:
        from prefect_atomic.sandbox.server import serve
    except ImportError as missing:
        sys.stderr.write(f"the sandbox needs {missing.name}: pip install prefect-atomic\n")
        return 1
    try:
        serve(port=arguments.port, parent=arguments.parent, ready=_announce)
    except OSError as error:
        sys.stderr.write(f"the sandbox cannot listen on port {arguments.port}: {error.strerror}\n")
        return 1
    return 0


def _announce(url: str) -> None:
    sys.stdout.write(json.dumps({"url": url}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
