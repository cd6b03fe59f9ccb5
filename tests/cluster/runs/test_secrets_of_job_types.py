"""A Secret of a job type is the agent's, and nobody else's."""

from lab import NAMESPACE, Lab

SECRET = "canary-token-77aa01"


def test_a_secret_of_the_job_type_is_masked_wherever_it_is_printed(lab: Lab) -> None:
    name = lab.name("team-secret")
    lab.core.create_namespaced_secret(
        NAMESPACE, {"metadata": {"name": name}, "stringData": {"token": SECRET}}
    )
    env = [{"name": "TEAM_TOKEN", "valueFrom": {"secretKeyRef": {"name": name, "key": "token"}}}]
    prompt = lab.prompt("scenario: shell\ncommand: {{command}}\n")
    run = lab.ended(
        lab.run(
            lab.job_type(prompt=prompt, env=env),
            inputs={"command": "echo ${#TEAM_TOKEN} $TEAM_TOKEN"},
        )
    )
    assert run["status"]["phase"] == "Succeeded", run["status"]
    message = run["status"]["result"]["message"]
    assert message.startswith(f"{len(SECRET)} ")  # the agent has it
    assert SECRET not in str(lab.get(run)) + str(lab.log(run))
