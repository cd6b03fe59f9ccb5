"""A CA bundle of the release that is none."""

from lab import Lab


def test_a_ca_bundle_that_is_none_is_named_at_once(lab: Lab) -> None:
    name = lab.name("ca")
    lab.kubectl("create", "configmap", name, "--from-literal=ca.crt=no certificate")
    try:
        with lab.chart_with(f"model.caBundle.configMap={name}"):
            status = lab.ended(lab.run(lab.job_type(), "message"))["status"]
    finally:
        lab.kubectl("delete", "configmap", name)
    assert (status["phase"], status["failure"]["class"]) == ("Failed", "config"), status
    assert "model.caBundle" in status["failure"]["message"]
