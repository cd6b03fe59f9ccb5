"""What may be cloned, what arrives, and what people read when it does not. Real git against a
server on loopback."""

import base64
import http.server
import json
import os
import subprocess
import threading

import pytest

from codexrun_core.resources.git_urls import UrlError, allowed_url
from codexrun_pod import clone as cloning

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
    ("out of the prefix", "https://git.example/acme/../other/app.git", "a segment is of letters"),
    (
        "out of the prefix, escaped",
        "https://git.example/acme/%2e%2E/other.git",
        "a segment is of letters",
    ),
    ("a newline", "https://git.example/acme/a\nb", "write only those"),
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
    """`git http-backend` as CGI; /private wants a password, /moved redirects, /empty.git is
    empty."""

    root = ""

    def do_GET(self):
        path, _, query = self.path.removeprefix(BEHIND_PROXY).partition("?")
        if path.startswith("/moved/"):
            self.send_response(301)
            self.send_header("Location", self.path.replace("/moved/", "/public/"))
            self.end_headers()
            return
        expected = "Basic " + base64.b64encode(b"robot:pa$$ w0rd'\"").decode()
        if path.startswith("/private/") and self.headers.get("Authorization") != expected:
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
    public = root / "public"
    public.mkdir()
    git("clone", "-q", "--bare", str(work), str(public / "app.git"), cwd=root)
    git("init", "-q", "--bare", str(public / "empty.git"), cwd=root)
    httpd = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), type("B", (Backend,), {"root": str(root)})
    )
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}", commits
    httpd.shutdown()


@pytest.fixture
def run(server, tmp_path, capsysbinary):
    """Clone and return (code, termination message, workspace, log line)."""

    def go(path, ref=None, *, allowed=None, username=None, password=None, proxied=False):
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
                }
            ),
            "CODEXRUN_WORKSPACE": str(workspace),
            "CODEXRUN_GIT_CREDENTIALS": str(secrets),
            "CODEXRUN_TERMINATION_LOG": str(tmp_path / "message"),
        }
        code = cloning.main(environment)
        raw = (tmp_path / "message").read_bytes()
        assert len(raw) == 3000
        return code, json.loads(raw), workspace, json.loads(capsysbinary.readouterr().out)

    return go


def test_a_host_that_only_a_proxy_reaches(run, server):
    code, message, workspace, _ = run("/public/app.git", proxied=True)
    assert (code, message["commit"]) == (0, server[1]["third"])
    assert "proxy" not in (workspace / ".git/config").read_text(), "the agent has no use for it"


def test_a_certificate_of_an_unknown_ca_names_the_way_out(tmp_path):
    repository = {"url": "https://git.example/a", "allowedURLs": ["https://git.example/*"]}
    environment = {
        "CODEXRUN_CLONE": json.dumps(repository),
        "CODEXRUN_WORKSPACE": str(tmp_path),
        "CODEXRUN_GIT_CREDENTIALS": str(tmp_path),
    }
    settings = cloning.from_env(environment)
    git = cloning.Git(settings, allowed_url(settings.url, settings.allowed))
    message = git._message_for(
        "fatal: unable to access 'https://git.example/a/': SSL certificate problem: unable to get"
        " local issuer certificate"
    )
    assert "git.caBundle" in message


REFS = [
    (None, "third", "main"),
    ("main", "third", "main"),
    ("topic/a", "second", "topic/a"),
    ("refs/heads/topic/a", "second", "topic/a"),
    ("v1", "first", "HEAD"),
    ("v2", "second", "HEAD"),
    ("refs/tags/v1", "first", "HEAD"),
]


@pytest.mark.parametrize(("ref", "commit", "branch"), REFS, ids=[str(r[0]) for r in REFS])
def test_a_ref_is_checked_out(run, server, ref, commit, branch):
    code, message, workspace, line = run("/public/app.git", ref)
    assert (code, message) == (0, {"v": 1, "src": "clone", "commit": server[1][commit]})
    assert (workspace / "file.txt").read_text() == commit
    assert git("rev-parse", "--abbrev-ref", "HEAD", cwd=workspace) == branch
    assert not (workspace / "left-over").exists()
    assert (line["src"], line["text"]) == ("clone", "workspace.cloned")


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
        "renew that Secret",
    ),
    (
        "no such ref",
        "/public/app.git",
        {"ref": "nope"},
        "neither a branch nor a tag 'nope'; its branches: main, topic/a",
    ),
    ("no such commit", "/public/app.git", {"ref": "0" * 40}, "has no commit"),
    (
        "a ref that is an option",
        "/public/app.git",
        {"ref": "--output=x"},
        "not a valid name of a branch",
    ),
    (
        "a ref with a revision expression",
        "/public/app.git",
        {"ref": "main~1"},
        "not a valid name of a branch",
    ),
    ("an empty repository", "/public/empty.git", {}, "no commit to check out"),
    (
        "a host that is not allowed",
        "/public/app.git",
        {"allowed": ["https://git.example/*"]},
        "not in the job type's",
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
