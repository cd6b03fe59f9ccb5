"""A job type that works on a Git repository: cloned by a step of its own, which alone sees the
credentials."""

import pytest
from git_host import PASSWORD
from lab import Json, Lab
from rest_facade import Facade

SHOW = "cat README; git log --oneline | wc -l; git status --short | wc -l"


@pytest.fixture(scope="module")
def job_type(lab: Lab, host: str) -> str:
    """Repositories of that server, with its credentials."""
    prompt = lab.prompt("scenario: shell\ncommand: {{command}}\n")
    git = {"allowedURLs": [f"http://{host}/*"], "credentialsSecretRef": {"name": host}}
    return lab.job_type(prompt=prompt, git=git)


def work(lab: Lab, job_type: str, host: str, path: str, *, command: str = SHOW, **git: str) -> Json:
    workspace = {"git": {"url": f"http://{host}/{path}", **git}}
    return lab.ended(lab.run(job_type, inputs={"command": command}, workspace=workspace))


@pytest.mark.parametrize(
    ("ref", "said"), [(None, "on main"), ("topic", "on topic"), ("v1", "on main")]
)
def test_codex_works_in_the_clone(
    lab: Lab, job_type: str, host: str, ref: str | None, said: str
) -> None:
    run = work(lab, job_type, host, "repo.git", **({"ref": ref} if ref else {}))
    assert run["status"]["phase"] == "Succeeded", run["status"]
    assert run["status"]["result"]["message"].splitlines()[0] == said


def test_credentials_open_a_private_repository_and_stay_in_the_clone_step(
    lab: Lab, job_type: str, host: str
) -> None:
    places = "/workspace /home /var /etc /run /tmp"
    hunt = (
        f"cat README; (env; cat .git/config; ls /var/run/codexrun; grep -rl {PASSWORD[:10]}"
        f" {places}) 2>/dev/null; true"
    )
    run = work(lab, job_type, host, "private.git", command=hunt)
    assert run["status"]["phase"] == "Succeeded", run["status"]
    assert run["status"]["result"]["message"].startswith("on main")
    log = "\n".join(str(line) for line in lab.log(run))
    assert PASSWORD not in log
    clone_log = lab.kubectl("logs", lab.pod(run).metadata.name, "-c", "clone").stdout
    assert PASSWORD not in clone_log


@pytest.mark.parametrize(
    ("path", "git", "said"),
    [
        ("moved.git", {}, "redirect"),
        ("absent.git", {}, "absent.git"),
        ("repo.git", {"ref": "nothing"}, "nothing"),
    ],
    ids=["a redirect to another host", "no such repository", "no such ref"],
)
def test_what_cannot_be_cloned_ends_in_class_workspace(
    lab: Lab, job_type: str, host: str, path: str, git: dict[str, str], said: str
) -> None:
    run = work(lab, job_type, host, path, **git)
    assert run["status"]["failure"]["class"] == "workspace", run["status"]
    assert said in run["status"]["failure"]["message"]


def test_the_log_of_a_clone_that_failed_is_archived(
    lab: Lab, facade: Facade, job_type: str, host: str
) -> None:
    run = work(lab, job_type, host, "absent.git")
    facade.until(run, "failed", log_closed=True)
    assert b"workspace.failed" in facade.log(run)


def test_a_pull_request_is_checked_out(lab: Lab, job_type: str, host: str) -> None:
    run = work(lab, job_type, host, "repo.git", ref="refs/pull/7/head")
    assert run["status"]["result"]["message"].splitlines()[0] == "on topic"
    assert len(run["status"]["commitId"]) == 40


def test_tools_know_who_they_are_and_commits_have_an_identity(
    lab: Lab, job_type: str, host: str
) -> None:
    command = (
        "python3 -c 'import getpass; print(getpass.getuser())'; git commit -q --allow-empty -m x"
        " && git log -1 --format=%an"
    )
    run = work(lab, job_type, host, "repo.git", command=command)
    assert run["status"]["result"]["message"].split()[:2] == ["agent", "codexrun"]


def test_another_host_is_rejected_without_a_job(lab: Lab, job_type: str, host: str) -> None:
    workspace = {"git": {"url": f"http://{host}.evil.example/repo.git"}}
    run = lab.ended(lab.run(job_type, inputs={"command": "ls"}, workspace=workspace))
    assert (run["status"]["phase"], run["status"]["reason"]) == ("Rejected", "WorkspaceNotAllowed")
    assert lab.jobs(run) == []
