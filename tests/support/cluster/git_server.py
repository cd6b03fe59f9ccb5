"""A Git server for the tests, run in a pod: smart HTTP with a password, and paths that misbehave.
Standard library only. With GIT_CERTIFICATE, a folder with tls.crt and tls.key, behind TLS.

/repo.git       one commit on main, another on branch topic and in refs/pull/7/head, tag v1
/private.git    the same behind user "bot", password from the environment
/jobs.git       work for the example job types: a bug with its test on main, tag v1 before it,
                a doubtful change on branch change
/moved.git/...  redirects to another host
"""

import base64
import os
import ssl
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path("/tmp/git")
PASSWORD = os.environ.get("GIT_PASSWORD", "")
# -B: an edit of the same length within one second leaves bytecode that passes for the new file.
CHECK = "python3 -B -m unittest -q test_cart"
CART = "def total(prices, discount):\n    return sum(prices) + discount\n"
TEST = (
    "import unittest\nimport cart\n\nclass Cart(unittest.TestCase):\n"
    "    def test_discount(self):\n        self.assertEqual(cart.total([5, 5], 3), 7)\n"
)
DOUBTFUL = "def load(text):\n    try:\n        return eval(text)\n    except:\n        return 0\n"


def git(*arguments: str, cwd: Path) -> str:
    identity = (
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@example.com",
        "-c",
        "init.defaultBranch=main",
    )
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=cwd, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def make_repository() -> None:
    work = ROOT / "work"
    work.mkdir(parents=True)
    git("init", cwd=work)
    (work / "README").write_text("on main\n")
    git("add", ".", cwd=work)
    git("commit", "-m", "first", cwd=work)
    git("tag", "v1", cwd=work)
    git("checkout", "-b", "topic", cwd=work)
    (work / "README").write_text("on topic\n")
    git("commit", "-am", "second", cwd=work)
    git("update-ref", "refs/pull/7/head", "topic", cwd=work)
    git("checkout", "main", cwd=work)
    for name in ("repo.git", "private.git"):
        git("clone", "--mirror", str(work), str(ROOT / name), cwd=ROOT)


def make_jobs() -> None:
    work = ROOT / "jobs"
    work.mkdir()
    git("init", cwd=work)

    def commit(message: str, **files: str) -> None:
        for name, text in files.items():
            (work / f"{name}.py").write_text(text)
        git("add", ".", cwd=work)
        git("commit", "-m", message, cwd=work)

    (work / ".gitignore").write_text("__pycache__/\n")
    commit("first", shop="def load(text):\n    return int(text)\n")
    git("tag", "v1", cwd=work)
    commit("Add a cart", cart=CART)
    commit("Fix the test of discounts", test_cart=TEST)
    git("checkout", "-b", "change", cwd=work)
    commit("Load anything", shop=DOUBTFUL)
    git("checkout", "main", cwd=work)
    git("clone", "--bare", str(work), str(ROOT / "jobs.git"), cwd=ROOT)


class Handler(BaseHTTPRequestHandler):
    """git http-backend behind the standard library's server."""

    def do_GET(self) -> None:
        if self.path.startswith("/moved.git"):
            self.send_response(301)
            self.send_header("Location", "http://codexrun-demo-model" + self.path)
            self.end_headers()
            return
        expected = "Basic " + base64.b64encode(f"bot:{PASSWORD}".encode()).decode()
        if self.path.startswith("/private.git") and self.headers.get("Authorization") != expected:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        env = {
            **os.environ,
            "GIT_PROJECT_ROOT": str(ROOT),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = subprocess.run(
            ["git", "http-backend"], input=body, env=env, capture_output=True, check=False
        ).stdout
        head, _, content = answer.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        # The end of the connection would be one that TLS has not ended.
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET  # noqa: N815


def serve(port: int) -> None:
    make_repository()
    make_jobs()
    server = ThreadingHTTPServer(("", port), Handler)
    if folder := os.environ.get("GIT_CERTIFICATE"):
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(f"{folder}/tls.crt", f"{folder}/tls.key")
        # A probe that says nothing must not keep others from being accepted.
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    print("serving", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(8000)
