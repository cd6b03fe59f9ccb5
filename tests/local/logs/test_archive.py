"""The archive on a local directory: whole artifacts, names that lead nowhere else, ends that
stand."""

import contextlib
import json

import pytest
from artifacts import store_artifact

from codexrun_api.archive import archive as archive_module
from codexrun_api.archive.archive import Archive, RunFull
from codexrun_api.archive.volume import Full, Volume
from codexrun_core.pod_contract import MIB

RUN = "11111111-2222-3333-4444-555555555555"

NO_RUN_IDS = (
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "/etc",
    "a\\b",
    ".hidden",
    "A" * 10,
    "x" * 64,
    "a\0b",
    "-rf",
    "a\n",
)
NO_NAMES = (
    "",
    ".",
    "..",
    "../logs.txt",
    "a/b",
    "/etc/passwd",
    ".part",
    "x" * 101,
    "a\0b",
    "a\n",
    "-x",
)


@pytest.mark.parametrize("run_id", NO_RUN_IDS, ids=repr)
def test_no_run_id_leads_out_of_the_archive(archive, tmp_path, run_id):
    for call in (
        lambda: archive.append(run_id, 0, b"x"),
        lambda: archive.append_attempt(run_id, 1, 0, b"x"),
        lambda: archive.read(run_id, 0, 1),
        lambda: archive.path(run_id),
        lambda: archive.list_artifacts(run_id),
        lambda: archive.remove(run_id),
        lambda: archive.open_artifact(run_id, "rollout.jsonl"),
    ):
        with pytest.raises(ValueError, match="is not a"):
            call()
    assert archive.artifact(run_id, "logs.txt") is None
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", NO_NAMES, ids=repr)
def test_no_artifact_name_leads_out_of_its_folder(archive, name):
    archive.append(RUN, 0, b"log")
    with pytest.raises(ValueError, match="is not a"):
        store_artifact(archive, RUN, name, b"x")
    assert archive.artifact(RUN, name) is None
    assert archive.read(RUN, 0, 10) == b"log"


def test_a_wrong_offset_writes_nothing_and_says_the_size(archive):
    assert archive.append(RUN, 0, b"one\n") == 4
    assert archive.append(RUN, 0, b"one\n") == 4
    assert archive.append(RUN, 9, b"three\n") == 4
    assert archive.append(RUN, 4, b"two\n") == 8
    assert archive.read(RUN, 0, 100) == b"one\ntwo\n"
    assert archive.read(RUN, 4, 7) == b"two"


def test_a_partial_upload_leaves_nothing(archive, tmp_path):
    with contextlib.closing(archive.open_artifact(RUN, "workspace.patch")) as file:
        file.write(b"half of a")
    assert archive.list_artifacts(RUN) == []
    assert list((tmp_path / "archive/partial").iterdir()) == []


def test_what_a_killed_process_had_half_written_is_gone_after_its_restart(archive, tmp_path):
    with contextlib.closing(archive.open_artifact(RUN, "workspace.patch")) as file:
        file.write(b"half of a")
        again = Archive(tmp_path / "archive")
        again.open()
        assert again.list_artifacts(RUN) == []
        assert list((tmp_path / "archive/partial").iterdir()) == []


def test_an_artifact_replaces_the_one_before(archive):
    for text in (b"first", b"second one"):
        store_artifact(archive, RUN, "final-message.md", text)
    (kept,) = archive.list_artifacts(RUN)
    assert (kept.name, kept.bytes) == ("final-message.md", 10)
    assert archive.artifact(RUN, "final-message.md").read_bytes() == b"second one"


def test_an_end_stands_and_nothing_follows_it(archive):
    archive.append_attempt(RUN, 1, 0, b"half a li")
    archive.seal(RUN, 1, complete=False, note="killed", last=b'{"text":"cut"}\n')
    archive.seal(RUN, 1, complete=True)
    size, ended = archive.append_attempt(RUN, 1, 9, b"more")
    assert ended
    assert archive.read(RUN, 0, 100) == b'half a li\n{"text":"cut"}\n'
    assert size == archive.size(RUN)
    assert (archive.log(RUN).complete, archive.log(RUN).note) == (False, "killed")


def test_the_next_attempt_opens_the_log_again(archive):
    archive.append_attempt(RUN, 1, 0, b"one\n")
    archive.seal(RUN, 1, complete=True)
    assert archive.append_attempt(RUN, 2, 0, b"two\n") == (4, False)
    assert archive.read(RUN, 0, 100) == b"one\ntwo\n"
    assert json.loads((archive._runs / RUN / "attempts.json").read_bytes()) == {
        "begins": {"1": 0, "2": 4},
        "complete": None,
        "note": None,
    }


def test_removing_takes_all_of_a_run_and_may_be_repeated(archive, tmp_path):
    archive.append(RUN, 0, b"log")
    store_artifact(archive, RUN, "final-message.md", b"bye")
    archive.remove(RUN)
    archive.remove(RUN)
    assert archive.size(RUN) == 0
    assert archive.list_artifacts(RUN) == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


class Disk:
    """A volume of 1 GiB, of which so much is free."""

    def __init__(self, free):
        self.free = free

    def __call__(self, folder):
        return Volume(1024 * MIB, self.free)


@pytest.fixture
def disk(tmp_path):
    return Disk(900 * MIB)


@pytest.fixture
def small(tmp_path, disk):
    made = Archive(tmp_path / "small", disk)
    made.open()
    return made


@pytest.mark.parametrize(
    ("total_gib", "reserved_mib"), [(1, 51), (10, 512), (20, 1024), (500, 1024)]
)
def test_a_twentieth_of_the_volume_is_the_registrys_up_to_a_gibibyte(total_gib, reserved_mib):
    assert Volume(total_gib * 1024 * MIB, 0).reserved // MIB == reserved_mib


def test_the_registrys_room_is_not_written_into(small, disk):
    assert small.append_attempt(RUN, 1, 0, b"one\n") == (4, False)
    disk.free = Volume(1024 * MIB, 0).reserved + 3
    with pytest.raises(Full, match="51 MiB are free on the archive's volume"):
        small.append_attempt(RUN, 1, 4, b"two\n")
    assert small.append_attempt(RUN, 1, 4, b"two") == (7, False)
    disk.free = 0
    with pytest.raises(Full):
        small.append_attempt(RUN, 1, 7, b"x")
    assert small.append_attempt(RUN, 1, 7, b"") == (7, False), "where to go on is answered"
    small.seal(RUN, 1, complete=False, note="no room", last=b"the end\n")
    assert small.read(RUN, 0, 100) == b"one\ntwo\nthe end\n"


def test_the_attempts_of_a_run_share_its_room(archive, monkeypatch):
    monkeypatch.setattr(archive_module, "MAX_RUN_LOG_BYTES", 10)
    assert archive.append_attempt(RUN, 1, 0, b"12345678") == (8, False)
    archive.seal(RUN, 1, complete=True)
    assert archive.append_attempt(RUN, 2, 0, b"12") == (2, False)
    with pytest.raises(RunFull):
        archive.append_attempt(RUN, 2, 2, b"3")
    assert archive.size(RUN) == 10
