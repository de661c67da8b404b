"""`prefect-atomic demo | sandbox | check`."""

import argparse
import signal
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="prefect-atomic", description="Atomic's integration layer for Prefect.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="see every credential type at work, on a Prefect server of its own")
    demo.add_argument("--keep", action="store_true", help="leave the server and the sandbox up, until Ctrl-C")

    sandbox = commands.add_parser("sandbox", help="serve the third parties on localhost, for a first try")
    sandbox.add_argument("--port", type=int, default=4280, help="0 takes any free one (default: %(default)s)")

    check = commands.add_parser(
        "check",
        help="have a saved credential or bucket prove that it works",
        description="Exit status: 0 it works, 1 it does not, 2 wrong usage.",
    )
    check.add_argument("slug", help="the slug of the saved block, such as atomic-basic-auth/crm")
    check.add_argument("--json", action="store_true", help="print what it got as JSON")

    chosen = parser.parse_args(arguments)
    if chosen.command == "check":
        return _check(chosen.slug, as_json=chosen.json)
    # A polite kill takes the same way out as Ctrl-C: through the cleaning up. A shell may have had both ignored.
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, signal.default_int_handler)
    if chosen.command == "sandbox":
        return _sandbox(chosen.port)
    from prefect_atomic.demo import run

    return run(keep=chosen.keep)


def _sandbox(port: int) -> int:
    from rich.console import Console

    from prefect_atomic.sandbox import Sandbox, SandboxError

    console = Console()
    try:
        with Sandbox.start(port) as sandbox:
            console.print(
                f"The sandbox is at [bold]{sandbox.url}[/], what it accepts at {sandbox.url}/_sandbox/accounts"
            )
            console.print("Ctrl-C ends it.")
            sandbox.wait()
    except SandboxError as error:
        console.print(f"[red]{error}[/]", highlight=False)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def _check(slug: str, *, as_json: bool) -> int:
    from rich.console import Console
    from rich.table import Table

    from prefect_atomic.credentials import Credential
    from prefect_atomic.errors import AtomicError, CredentialError
    from prefect_atomic.integrations.s3 import S3Bucket
    from prefect_atomic.tasks.saved import Saved

    try:
        block = Saved("slug", "atomic-basic-auth/crm", CredentialError).load(slug)
        if not isinstance(block, Credential | S3Bucket):
            raise CredentialError(f"slug: is a {type(block).__name__}, which has nothing to prove.")
        found = block.check()
    except AtomicError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if as_json:
        sys.stdout.write(found.model_dump_json() + "\n")
        return 0
    table = Table(show_header=False, box=None)
    for name, value in (
        ("block", slug),
        ("kind", found.kind),
        ("token until", f"{found.expires_at:%Y-%m-%d %H:%M:%S} UTC" if found.expires_at else "needs none"),
        ("scopes", ", ".join(found.scopes) or "not said"),
        ("host", found.host or "any"),
        ("allowed hosts", ", ".join(found.allowed_hosts) or "any"),
    ):
        table.add_row(name, value)
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
