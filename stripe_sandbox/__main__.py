"""`python -m stripe_sandbox --host 127.0.0.1 --port 12111 --data FILE`."""

import argparse

from stripe_sandbox.server import serve


def main() -> None:
    """Serve the sandbox until it is told to stop."""
    parser = argparse.ArgumentParser(prog="stripe_sandbox", description="A Stripe-compatible server.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=12111)
    parser.add_argument("--data", default="stripe-sandbox.sqlite", help="the SQLite file that keeps the state")
    arguments = parser.parse_args()
    serve(arguments.host, arguments.port, arguments.data)


if __name__ == "__main__":
    main()
