"""kubectl and Helm read YAML with Go's parser, which is not Python's: what `prompts manifests`
wrote must arrive unchanged."""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from codexrun_core.prompts import index, manifests
from codexrun_core.prompts.index import PromptVersion

ROOT = Path(__file__).parents[3]

TEXTS = [
    *(
        "one\ntwo\n",
        "one\ntwo",
        "one\n\n\n",
        "\n",
        "\n\none",
        " one\n  two\n",
        "one \ntwo\t\n",
        "one\n\ttwo\n",
        "one\r\ntwo\r\n",
    ),
    *(
        "# no comment\n",
        "a: b\nc: d\n",
        "- a\n- b\n",
        "---\n...\n",
        "%TAG\n",
        "{{name}}\n",
        "'\"\\\n",
        "&a *a !!str\n",
        "|\n>\n",
    ),
    *(
        "é ü ß\n",
        "🦊\n",
        "a\u00a0b\n",
        "a\u0085b\n",
        "a\u2028b\u2029\n",
        "\ufeffa\n",
        "a\x07b\x1b[0m\n",
        "\ud7ff\ue000\ufffd\uffff\n",
    ),
    *(
        "1e5",
        "0o7",
        "0x1f",
        "1_000",
        "12:30:45",
        "y",
        "N",
        "on",
        "no",
        "null",
        "~",
        "2026-11-24",
        ".inf",
        "<<",
        "=",
        "-",
        "?",
    ),
    "$$ $(HOME) ${HOME} `x`\n",
    "x" * 200 + " " + "y" * 200 + "\n",
]


def version(number: int, text: str) -> PromptVersion:
    fields = {
        "name": "p",
        "version": f"v{number}",
        "path": "",
        "owner": text[:1] or "o",
        "updated_at": "2026-11-24",
    }
    return PromptVersion(**fields, sha256=index.sha256_of(text.encode()), text=text)


def test_go_reads_what_python_wrote(tmp_path: Path) -> None:
    helm = shutil.which("helm", path=f"{ROOT}/.cluster/bin{os.pathsep}{os.environ['PATH']}")
    if helm is None:
        pytest.fail(
            "helm is neither in .cluster/bin nor in PATH; `make up` builds it and puts it there"
        )
    objects = [
        manifests.config_map(version(number, text)) for number, text in enumerate(TEXTS, start=1)
    ]
    (tmp_path / "Chart.yaml").write_text("{apiVersion: v2, name: reader, version: 0.1.0}")
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/NOTES.txt").write_text("")
    for number, manifest in enumerate(objects, start=1):
        (tmp_path / f"{number}.yaml").write_bytes(manifests.to_yaml([manifest]).encode())
        template = f'read: {{{{ .Files.Get "{number}.yaml" | fromYaml | toRawJson | b64enc }}}}'
        (tmp_path / f"templates/{number:03}.yaml").write_text(template)

    done = subprocess.run([helm, "template", "x", str(tmp_path)], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    lines = [
        line.removeprefix("read: ")
        for line in done.stdout.decode().splitlines()
        if line.startswith("read: ")
    ]
    read = [json.loads(base64.b64decode(line)) for line in lines]
    assert sorted(read, key=lambda o: int(o["metadata"]["name"].rpartition("v")[2])) == objects
