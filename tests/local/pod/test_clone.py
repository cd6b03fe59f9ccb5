"""What may be cloned, what arrives, and what people read when it does not. Real git against a
server on loopback."""

import base64
import http.server
import json
import os
import subprocess
import threading
from typing import ClassVar
from urllib.parse import quote

import pytest

from codexrun_core.pod_contract import CLONE_LOG
from codexrun_core.resources.git_urls import UrlError, allowed_url
from codexrun_pod.clone import __main__ as cloning
from codexrun_pod.runner.workspace import take_clone_log

ALLOWED = ("https://git.example/acme/*", "https://git.example/one.git")

URLS = [
    ("below a prefix", "https://git.example/acme/app.git", None),
    ("exactly one of the list", "https://git.example/one.git", None),
    ("longer than an exact one", "https://git.example/one.git/x", "allowedURLs"),
    ("another host", "https://evil.example/acme/app.git", "allowedURLs"),
    ("a host that starts like it", "https://git.example.evil/acme/app", "allowedURLs"),
    ("another scheme of the same host", "http://git.example/acme/app.git", "allowedURLs"),
    ("another path", "https://git.example/other/app.git", "allowedURLs"),
    ("ssh", "ssh://git@git.example/acme/app.git", "not an http"),
    ("a file", "file:///etc", "not an http"),
    ("git's own remote helpers", "ext::sh -c id", "not an http"),
    ("an option", "--upload-pack=id", "not an http"),
    ("a user", "https://me@git.example/acme/app.git", "credentialsSecretRef"),
    ("a password", "https://me:pw@git.example/acme/app.git", "credentialsSecretRef"),
    (
        "out of the prefix",
        "https://git.example/acme/../other/app.git",
        "each part of the path may contain only letters",
    ),
    (
        "out of the prefix, escaped",
        "https://git.example/acme/%2e%2E/other.git",
        "each part of the path may contain only letters",
    ),
    ("a newline", "https://git.example/acme/a\nb", "give only the scheme"),
    ("a port that is none", "https://git.example:x/acme/app.git", "not a URL"),
]


@pytest.mark.parametrize(("url", "refusal"), [u[1:] for u in URLS], ids=[u[0] for u in URLS])
def test_which_urls_may_be_cloned(url, refusal):
    if refusal is None:
        assert allowed_url(url, ALLOWED).hostname == "git.example"
    else:
        with pytest.raises(UrlError, match=refusal):
            allowed_url(url, ALLOWED)


def git(*arguments, cwd):
    identity = {
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "t"), ("EMAIL", "t@example.com"))
    }
    environment = {**os.environ, **identity, "GIT_CONFIG_GLOBAL": "/dev/null"}
    return subprocess.run(
        ["git", *arguments], cwd=cwd, env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


BEHIND_PROXY = "http://git.example.com"  # of a request that this server gets as a proxy


class Backend(http.server.BaseHTTPRequestHandler):
    """`git http-backend` as CGI; /private wants a password, /quoting too, and says it in its
    refusal; /moved redirects, /empty.git is empty."""

    root = ""
    failures: ClassVar[list[int]] = []  # statuses that the next requests get

    def do_GET(self):
        path, _, query = self.path.removeprefix(BEHIND_PROXY).partition("?")
        if self.failures:
            self.send_response(self.failures.pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if path.startswith("/moved/"):
            self.send_response(301)
            self.send_header("Location", self.path.replace("/moved/", "/public/"))
            self.end_headers()
            return
        if path.startswith("/quoting/") and (shown := self.headers.get("Authorization")):
            decoded = base64.b64decode(shown.removeprefix("Basic ")).decode()
            refusal = f"ERR {decoded} and {quote(decoded)} are no longer valid, {shown}\n".encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-git-upload-pack-advertisement")
            self.end_headers()
            service = b"# service=git-upload-pack\n"
            packet = b"%04x%s0000%04x%s" % (len(service) + 4, service, len(refusal) + 4, refusal)
            self.wfile.write(packet)
            return
        expected = "Basic " + base64.b64encode(b"robot:pa$$ w0rd'\"").decode()
        closed = path.startswith(("/private/", "/quoting/"))
        if closed and self.headers.get("Authorization") != expected:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        environment = {
            **os.environ,
            "GIT_PROJECT_ROOT": self.root,
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path.replace("/private/", "/public/"),
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "HTTP_GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": "127.0.0.1",
        }
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        done = subprocess.run(
            ["git", "http-backend"], env=environment, input=body, capture_output=True, check=False
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """(base URL, {ref: commit}) of a server with one repository."""
    root = tmp_path_factory.mktemp("git")
    work = root / "work"
    work.mkdir()
    git("init", "-q", "-b", "main", cwd=work)
    commits = {}
    for name in ("first", "second", "third"):
        (work / "file.txt").write_text(name)
        git("add", ".", cwd=work)
        git("commit", "-q", "-m", name, cwd=work)
        commits[name] = git("rev-parse", "HEAD", cwd=work)
    git("tag", "v1", commits["first"], cwd=work)
    git("tag", "-a", "v2", "-m", "annotated", commits["second"], cwd=work)
    git("branch", "topic/a", commits["second"], cwd=work)
    (work / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    (work / "model.bin").write_text("version https://git-lfs.github.com/spec/v1\n")
    git("checkout", "-q", "-b", "lfs", cwd=work)
    git("add", ".", cwd=work)
    git("commit", "-q", "-m", "lfs", cwd=work)
    commits["lfs"] = git("rev-parse", "HEAD", cwd=work)
    git("checkout", "-q", "--detach", "main", cwd=work)
    (work / "file.txt").write_text("proposed")
    git("commit", "-q", "-a", "-m", "proposed", cwd=work)
    commits["proposed"] = git("rev-parse", "HEAD", cwd=work)
    git("update-ref", "refs/pull/7/head", commits["proposed"], cwd=work)
    git("checkout", "-q", "main", cwd=work)
    public = root / "public"
    public.mkdir()
    git("clone", "-q", "--mirror", str(work), str(public / "app.git"), cwd=root)
    git("init", "-q", "--bare", str(public / "empty.git"), cwd=root)
    httpd = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), type("B", (Backend,), {"root": str(root)})
    )
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}", commits
    httpd.shutdown()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(cloning, "RETRY_SECONDS", (0.0, 0.0))


@pytest.fixture
def run(server, tmp_path, capsysbinary):
    """Clone and return (code, termination message, workspace, log line)."""

    def go(path, ref=None, *, allowed=None, username=None, password=None, proxied=False, **config):
        base = server[0]
        workspace = tmp_path / "workspace"
        secrets = tmp_path / "secrets"
        for directory in (workspace, secrets):
            directory.mkdir(exist_ok=True)
        (workspace / "left-over").write_text("of an earlier try")
        for name, value in (("username", username), ("password", password)):
            if value is not None:
                (secrets / name).write_text(value)
        environment = {
            "CODEXRUN_CLONE": json.dumps(
                {
                    "url": (BEHIND_PROXY if proxied else base) + path,
                    "ref": ref,
                    "allowedURLs": allowed or [base + "/*", BEHIND_PROXY + "/*"],
                    **({"proxy": base} if proxied else {}),
                    **config,
                }
            ),
            "CODEXRUN_CLONE_INGEST_TOKEN": str(tmp_path / "token"),
            "CODEXRUN_WORKSPACE": str(workspace),
            "CODEXRUN_GIT_CREDENTIALS": str(secrets),
            "CODEXRUN_TERMINATION_LOG": str(tmp_path / "message"),
        }
        code = cloning.main(environment)
        raw = (tmp_path / "message").read_bytes()
        assert len(raw) == 3000
        lines = [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]
        go.lines = lines
        return code, json.loads(raw), workspace, lines[-1]

    return go


def test_a_host_that_only_a_proxy_reaches(run, server):
    code, message, workspace, _ = run("/public/app.git", proxied=True)
    assert (code, message["commit"]) == (0, server[1]["third"])
    assert "proxy" not in (workspace / ".git/config").read_text(), "the agent has no use for it"


REFS = [
    (None, "third", "main"),
    ("main", "third", "main"),
    ("topic/a", "second", "topic/a"),
    ("refs/heads/topic/a", "second", "topic/a"),
    ("v1", "first", "HEAD"),
    ("v2", "second", "HEAD"),
    ("refs/tags/v1", "first", "HEAD"),
    ("refs/pull/7/head", "proposed", "HEAD"),
]


@pytest.mark.parametrize(("ref", "commit", "branch"), REFS, ids=[str(r[0]) for r in REFS])
def test_a_ref_is_checked_out(run, server, ref, commit, branch):
    code, message, workspace, line = run("/public/app.git", ref)
    assert (code, message) == (0, {"v": 1, "src": "clone", "commit": server[1][commit]})
    assert (workspace / "file.txt").read_text() == commit
    assert git("rev-parse", "--abbrev-ref", "HEAD", cwd=workspace) == branch
    assert not (workspace / "left-over").exists()
    assert (line["src"], line["text"]) == ("clone", "workspace.cloned")


@pytest.mark.parametrize(
    ("ref", "commit"),
    [(None, "third"), ("topic/a", "second"), ("v1", "first"), ("refs/pull/7/head", "proposed")],
    ids=str,
)
def test_a_shallow_clone_has_the_ref_and_so_much_of_its_history(run, server, ref, commit):
    code, message, workspace, _ = run("/public/app.git", ref, depth=1)
    assert (code, message["commit"]) == (0, server[1][commit])
    assert git("rev-list", "--count", "HEAD", cwd=workspace) == "1"


def test_a_shallow_clone_of_a_commit(run, server):
    commit = server[1]["second"]
    code, _, workspace, _ = run("/public/app.git", commit, depth=1)
    # the server gives commits that no ref holds only where its uploadpack says so
    if code == 0:
        assert git("rev-parse", "HEAD", cwd=workspace) == commit


def test_what_passes_is_tried_again_and_told(run, server):
    Backend.failures.extend([503, 502])
    code, message, _, line = run("/public/app.git")
    assert (code, message["commit"]) == (0, server[1]["third"])
    texts = [each["text"] for each in run.lines]
    assert texts == ["clone.retried", "clone.retried", "workspace.cloned"]
    assert "503" in run.lines[0]["reason"]
    assert line["commit"] == server[1]["third"]


def test_what_does_not_pass_in_time_is_retryable(run):
    Backend.failures.extend([503] * 3)
    code, message, _, line = run("/public/app.git")
    assert Backend.failures == []
    assert code == 1
    assert (message["failure"]["class"], message["failure"]["retryable"]) == ("workspace", True)
    assert "503" in message["failure"]["message"]
    assert line["text"] == "workspace.failed"


def test_a_clone_that_takes_too_long_names_the_field(run, monkeypatch):
    arrived = threading.Event()
    finished = threading.Event()

    def wait(handler):
        arrived.set()
        finished.wait(30)

    monkeypatch.setattr(Backend, "do_GET", wait)
    code, message, _, _ = run("/public/app.git", timeoutSeconds=1)
    finished.set()
    assert arrived.is_set()
    assert code == 1
    assert "git.timeoutSeconds" in message["failure"]["message"]


def test_files_of_lfs_are_reported(run):
    code, message, workspace, line = run("/public/app.git", "lfs")
    assert code == 0
    assert (workspace / "model.bin").read_text().startswith("version https://git-lfs")
    (warning,) = message["warnings"]
    assert "Git LFS" in warning
    assert "model.bin" in warning
    assert line["reason"] == warning


def test_the_runner_takes_the_lines_and_the_agent_does_not_see_them(run):
    _, _, workspace, line = run("/public/app.git")
    content = take_clone_log(workspace)
    assert json.loads(content) == line
    assert not (workspace / CLONE_LOG).exists()
    assert take_clone_log(workspace) == b""


def test_the_log_of_a_clone_that_failed_goes_to_the_api(run, tmp_path):
    received = []

    class Api(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, self.headers["Authorization"], body))
            answer = json.dumps({"size": len(body), "ended": "end=" in self.path}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    api = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=api.serve_forever, daemon=True).start()
    (tmp_path / "token").write_text("pod-token")
    run("/public/none.git", ingestURL=f"http://127.0.0.1:{api.server_port}")
    api.shutdown()
    (path, token, body), (end, _, _) = received
    assert (path, token) == ("/ingest/log?offset=0", "Bearer pod-token")
    assert json.loads(body)["text"] == "workspace.failed"
    assert end == f"/ingest/log?offset={len(body)}&end=complete"


def test_a_full_commit_id_is_checked_out(run, server):
    code, _, workspace, _ = run("/public/app.git", server[1]["first"])
    assert (code, (workspace / "file.txt").read_text()) == (0, "first")


def test_credentials_are_used_and_left_nowhere(run):
    code, message, workspace, line = run(
        "/private/app.git", username="robot\n", password="pa$$ w0rd'\"\n"
    )
    assert code == 0
    left = b"".join(path.read_bytes() for path in workspace.rglob("*") if path.is_file())
    for text in (left, json.dumps(message).encode(), json.dumps(line).encode()):
        assert b"w0rd" not in text
        assert b"robot" not in text
        assert b"secrets" not in text


def test_credentials_that_the_host_quotes_are_told_nowhere(run):
    password = "pa$$ w0rd'\""
    code, message, _, line = run("/quoting/app.git", username="robot", password=password)
    assert code == 1
    assert "no longer valid" in message["failure"]["message"]
    whole = f"robot:{password}"
    for form in ("w0rd", "robot", quote(whole)[-9:], base64.b64encode(whole.encode()).decode()):
        assert form not in json.dumps([message, line]), form


def test_credentials_are_shown_by_way_of_a_proxy_and_for_any_ref(run, server):
    code, message, workspace, _ = run(
        "/private/app.git",
        "refs/pull/7/head",
        username="robot",
        password="pa$$ w0rd'\"",
        proxied=True,
    )
    assert code == 0, message
    assert git("rev-parse", "HEAD", cwd=workspace) == server[1]["proposed"]


def test_credentials_that_are_no_text_are_said_so(run, tmp_path):
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "password").write_bytes(b"\xff\xfe")
    code, message, _, _ = run("/private/app.git", username="robot")
    assert code == 1
    assert "git.credentialsSecretRef in the job type: password" in message["failure"]["message"]


WRONG = [
    ("a redirect", "/moved/app.git", {}, "redirect, which is not followed"),
    ("no such repository", "/public/none.git", {}, "does not exist"),
    (
        "credentials missing",
        "/private/app.git",
        {},
        "name a Secret in the job type's git.credentialsSecretRef",
    ),
    (
        "credentials wrong",
        "/private/app.git",
        {"username": "robot", "password": "old"},
        "update that Secret",
    ),
    (
        "no such ref",
        "/public/app.git",
        {"ref": "nope"},
        "has no branch or tag 'nope'; its branches: lfs, main, topic/a",
    ),
    ("no such full ref", "/public/app.git", {"ref": "refs/pull/9/head"}, "no ref 'refs/pull/9/"),
    ("no such ref of a shallow clone", "/public/app.git", {"ref": "no", "depth": 1}, "no ref 'no'"),
    ("no such commit", "/public/app.git", {"ref": "0" * 40}, "has no commit"),
    (
        "a ref that is an option",
        "/public/app.git",
        {"ref": "--output=x"},
        "not a valid name for a branch",
    ),
    (
        "a ref with a revision expression",
        "/public/app.git",
        {"ref": "main~1"},
        "not a valid name for a branch",
    ),
    ("an empty repository", "/public/empty.git", {}, "no commit to check out"),
    (
        "a host that is not allowed",
        "/public/app.git",
        {"allowed": ["https://git.example/*"]},
        "does not match the job type's git.allowedURLs",
    ),
]


@pytest.mark.parametrize(
    ("path", "options", "text"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG]
)
def test_a_failure_says_what_to_do(run, path, options, text):
    code, message, _, line = run(path, **options)
    assert code == 1
    assert message["failure"]["class"] == "workspace"
    assert text in message["failure"]["message"]
    assert "old" not in line["reason"]


def test_a_host_that_nobody_answers_for(run, tmp_path):
    environment = {
        "CODEXRUN_CLONE": json.dumps(
            {"url": "http://127.0.0.1:9/a.git", "allowedURLs": ["http://127.0.0.1:9/*"]}
        ),
        "CODEXRUN_WORKSPACE": str(tmp_path),
        "CODEXRUN_TERMINATION_LOG": str(tmp_path.parent / "clone-message"),
    }
    assert cloning.main(environment) == 1
    message = json.loads((tmp_path.parent / "clone-message").read_bytes())["failure"]["message"]
    assert "http://127.0.0.1:9/a.git" in message
    assert "connect" in message
