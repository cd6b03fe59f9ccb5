"""May a run go on with the thread of an earlier one? Only where both were admitted alike."""

from dataclasses import replace
from typing import Any

import pytest
from builders import SHA, run
from hypothesis import given
from hypothesis import strategies as st

from codexrun_core.resources.codexrun import GitWorkspace
from codexrun_core.runs.record import record_of
from codexrun_core.runs.resume import ADVICE, ThreadSetup, resume_problem, setup_of

GIT = GitWorkspace(url="https://git.example/a/b", ref="main")
SETUP = ThreadSetup(job_type="deploy", prompt_sha256="a" * 64, model="gpt-5.5", git=GIT)

CASES: list[tuple[str, ThreadSetup, str]] = [
    ("another job type", replace(SETUP, job_type="fix"), "the job type of the earlier run is fix"),
    ("another prompt", replace(SETUP, prompt_sha256="b" * 64), "the checksum of the prompt"),
    ("another model", replace(SETUP, model="o9"), "the model"),
    ("a model that nobody recorded", replace(SETUP, model=None), "the model"),
    ("no repository", replace(SETUP, git=None), "the workspace of the earlier run is empty"),
    (
        "another repository",
        replace(SETUP, git=GitWorkspace(url="https://git.example/a/c", ref="main")),
        "https://git.example/a/c at main",
    ),
    (
        "another branch",
        replace(SETUP, git=GitWorkspace(url=GIT.url, ref="dev")),
        "at dev, but that of this run is https://git.example/a/b at main",
    ),
    (
        "the default branch, which may be the same one",
        replace(SETUP, git=GitWorkspace(url=GIT.url)),
        "at the default branch",
    ),
    ("a run that never began", replace(SETUP, prompt_sha256=None), "never started"),
]


@pytest.mark.parametrize(
    ("source", "words"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_refused(source: ThreadSetup, words: str) -> None:
    problem = resume_problem(SETUP, source)
    assert problem is not None
    assert problem.startswith("spec.retryOf.resume: ")
    assert words in problem
    assert problem.endswith(ADVICE)


setups = st.builds(
    ThreadSetup,
    job_type=st.sampled_from(["a", "b"]),
    prompt_sha256=st.sampled_from([None, "a" * 64, "b" * 64]),
    model=st.sampled_from([None, "m", "n"]),
    git=st.sampled_from([None, GIT, GitWorkspace(url=GIT.url)]),
)


@given(setups, setups)
def test_only_runs_that_were_admitted_alike_share_a_thread(
    own: ThreadSetup, source: ThreadSetup
) -> None:
    alike = own == source and source.prompt_sha256 is not None
    assert (resume_problem(own, source) is None) is alike


@pytest.mark.parametrize(
    ("spec", "git"),
    [
        ({}, None),
        ({"workspace": {"git": {"url": GIT.url, "ref": "main"}}}, GIT),
        ({"workspace": {"git": {"url": GIT.url}}}, GitWorkspace(url=GIT.url)),
    ],
)
def test_what_an_object_and_its_row_say_of_a_thread(
    spec: dict[str, Any], git: GitWorkspace | None
) -> None:
    used = {"prompt": {"name": "hello", "version": "v1", "sha256": SHA}, "model": "gpt-5.5"}
    record = record_of(run("Failed", status=used, **spec))
    assert setup_of(record) == ThreadSetup(
        job_type="hello", prompt_sha256=SHA, model="gpt-5.5", git=git
    )
