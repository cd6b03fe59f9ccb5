"""`python3 -m codexrun_api.openapi > api/openapi.json`: the document that is checked in, without a
cluster or a database."""

import json
import sys

from codexrun_api.app import openapi_document


def document() -> str:
    return json.dumps(openapi_document(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
