"""Codex comes from npm as it was pinned, or not at all."""

import base64
import io
import json
import tarfile
from pathlib import Path

import pytest

from codexrun_cluster.command import Log
from codexrun_cluster.errors import LauncherError
from codexrun_cluster.images import codex
from codexrun_cluster.images.codex import Pin
from codexrun_cluster.paths import Paths, machine

PACKED = (*codex.CODEX_FILES, "codex-resources/voice/bin/codex-voice-host")


class Npm(Log):
    """`npm pack`: puts the same archive wherever it is asked for."""

    def read(self, argv, **_):
        folder = Path(argv[argv.index("--pack-destination") + 1])
        assert argv[-1] == f"@openai/codex@1.2.3-linux-{codex.NPM_CPUS[machine()]}"
        with tarfile.open(folder / "codex.tgz", "w") as package:
            for name in PACKED:
                member = tarfile.TarInfo(f"package/vendor/x86_64-unknown-linux-musl/{name}")
                member.size = len(name)
                package.addfile(member, io.BytesIO(name.encode()))
        self.integrity = codex.integrity(folder / "codex.tgz")
        return json.dumps([{"filename": "codex.tgz"}])


@pytest.fixture
def here(tmp_path):
    return Paths(checkout=tmp_path / "checkout", cache=tmp_path / "cache")


def pin(integrity):
    return Pin("1.2.3", {machine(): integrity})


def test_a_package_that_is_not_the_pinned_one_is_refused(here, tmp_path):
    npm = Npm(tmp_path / "log")
    with pytest.raises(LauncherError, match="pinned is sha512-other"):
        codex.fetch_codex(here, npm, pin("sha512-other"))
    assert not codex.codex_folder(here, "1.2.3").exists()


def test_the_pinned_package_is_unpacked_without_what_no_run_uses(here, tmp_path):
    npm = Npm(tmp_path / "log")
    with pytest.raises(LauncherError):
        codex.fetch_codex(here, npm, pin("sha512-other"))
    assert codex.fetch_codex(here, npm, pin(npm.integrity)) == "Codex 1.2.3"
    folder = codex.codex_folder(here, "1.2.3")
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == set(codex.CODEX_FILES)
    assert all((folder / name).stat().st_mode & 0o111 for name in files)
    assert codex.fetch_codex(here, npm, pin("sha512-other")) == "in the cache"


def test_each_pin_has_a_hash_for_each_processor():
    for one in codex.pins():
        assert set(one.integrity) == set(codex.NPM_CPUS)
        for integrity in one.integrity.values():
            kind, _, digest = integrity.partition("-")
            assert (kind, len(base64.b64decode(digest, validate=True))) == ("sha512", 64)


def test_the_pins_are_in_order():
    numbers = [[int(part) for part in one.version.split(".")] for one in codex.pins()]
    assert numbers == sorted(numbers)
