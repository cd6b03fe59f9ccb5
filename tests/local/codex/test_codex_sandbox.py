"""`sandbox: codex`: Codex's own sandbox inside of the pod, proven before Codex starts."""

REACH = """touch inside && echo can write here
touch /etc/codexrun-test 2>/dev/null && echo can write to etc
touch "$HOME/.codex/config.toml" 2>/dev/null && echo can write the configuration
exec 3<>/dev/tcp/127.0.0.1/{port} && echo can reach the gate"""


def run(pod, **more):
    pod.start_gate()
    command = "bash -c " + repr(REACH.format(port=pod.gate_port).replace("\n", "; "))
    pod.start_runner(f"scenario: shell\ncommand: {command}", **more)
    return pod.end()


def test_the_pod_alone_lets_commands_do_what_the_container_may(pod):
    result = run(pod)
    assert result.code == 0
    assert "can reach the gate" in result.runner["finalMessage"]


def test_codex_s_sandbox_leaves_workspace_and_nothing_else(pod):
    result = run(pod, sandbox="codex")
    assert result.code == 0, result
    assert "can write here" in result.runner["finalMessage"]
    assert "can write to etc" not in result.runner["finalMessage"]
    assert "can reach the gate" not in result.runner["finalMessage"]


def test_where_it_cannot_work_the_run_ends_before_codex_starts(pod):
    result = run(pod, sandbox="codex", without_bwrap=True)
    assert (result.code, result.failure) == (1, "config")
    assert "sandbox: codex does not work in this pod" in result.runner["failure"]["message"]
    assert "runtimeClassName" in result.runner["failure"]["message"]
    assert result.gate["requests"] == 0
