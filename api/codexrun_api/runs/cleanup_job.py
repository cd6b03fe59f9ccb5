"""`python3 -m codexrun_api.runs.cleanup_job [--older-than 14d] [--dry-run]`: what the chart's
CronJob calls. Standard library only."""

import argparse
import json
import os
import sys
import urllib.error
import urllib.request


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m codexrun_api.runs.cleanup_job")
    parser.add_argument("--older-than", default="14d")
    parser.add_argument("--dry-run", action="store_true")
    options = parser.parse_args(arguments)
    url = os.environ.get("CODEX_CONTROL_URL", "").rstrip("/")
    token = os.environ.get("CODEX_CONTROL_TOKEN", "")
    if not url.startswith(("http://", "https://")):
        sys.stderr.write("CODEX_CONTROL_URL is not set to the REST API's URL\n")
        return 2
    request = urllib.request.Request(  # noqa: S310 - http(s) only, see above
        f"{url}/cleanup",
        data=json.dumps({"older_than": options.older_than, "dry_run": options.dry_run}).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=600) as answer:  # noqa: S310
            sys.stdout.write(answer.read().decode() + "\n")
            return 0
    except urllib.error.HTTPError as error:
        sys.stderr.write(error.read().decode() + "\n")
    except OSError as error:
        sys.stderr.write(f"{url}: {error}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
