"""`helm package`: the packed chart is the folder's."""

from pathlib import Path

from test_chart import CHART, DEMO, run, settings


def test_the_packed_chart_renders_the_same(tmp_path: Path) -> None:
    packed = run("package", str(CHART), "--destination", str(tmp_path))
    assert packed.returncode == 0, packed.stderr
    (archive,) = tmp_path.glob("codexrun-*.tgz")
    rendered = [
        run("template", "codexrun", str(source), "-n", "codexrun", *settings(DEMO)).stdout
        for source in (CHART, archive)
    ]
    assert rendered[0] == rendered[1] != ""
