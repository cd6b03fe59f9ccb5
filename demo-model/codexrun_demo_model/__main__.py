"""`python3 -m codexrun_demo_model --port 8080`: serve until a signal; `--list` prints the
scenarios."""

import argparse
import sys


def main() -> None:
    """Parse the command line and serve."""
    options = argparse.ArgumentParser(
        prog="codexrun_demo_model", description="A keyless, scripted Responses API."
    )
    options.add_argument(
        "--host",
        default="0.0.0.0",  # noqa: S104
        help="address to listen on (default: all)",
    )
    options.add_argument("--port", type=int, default=8080)
    options.add_argument(
        "--list", action="store_true", help="print the scenarios as a table and exit"
    )
    arguments = options.parse_args()
    if arguments.list:
        from codexrun_demo_model.scenarios import SCENARIOS

        rows = (f"| `{scenario.name}` | {scenario.description} |\n" for scenario in SCENARIOS)
        sys.stdout.write("| scenario | plays |\n|---|---|\n" + "".join(rows))
        return
    from aiohttp import web

    from codexrun_demo_model.server import application

    sys.stderr.write(f"demo model listens on {arguments.host}:{arguments.port}\n")
    web.run_app(
        application(),
        host=arguments.host,
        port=arguments.port,
        print=None,
        access_log=None,
        shutdown_timeout=2.0,
    )


if __name__ == "__main__":
    main()
