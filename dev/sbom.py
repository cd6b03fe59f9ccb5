"""Write an SBOM (CycloneDX 1.6, JSON) of each image, from the locks that both are built from:
`make sbom` calls it.

It names what the images have beside their base, with the hashes that a build insists on. The base
and what is installed into it are known only where an image is built (docs/security.md).
"""

import base64
import re
import sys
import tomllib
from pathlib import Path

from cyclonedx.model import (
    ExternalReference,
    ExternalReferenceType,
    HashAlgorithm,
    HashType,
    XsUri,
)
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement

from codexrun_cluster.images.codex import NPM_CPUS, pins
from codexrun_cluster.images.wheels import for_python

ROOT = Path(__file__).resolve().parents[1]
CONTROL = "codexrun"
AGENT = "codexrun-agent"


def locked(python: str) -> list[Component]:
    """Return the packages that requirements/runtime.lock has for a Python such as `3.13` on Linux.
    Each has the hashes of all its files: which of them is installed depends on the processor."""
    lock = (ROOT / "requirements/runtime.lock").read_text()
    blocks = for_python(Path(sys.executable), python, lock).replace("\\\n", " ")
    return [_package(line) for line in blocks.splitlines() if line.strip()]


def _package(line: str) -> Component:
    """Return a line of a lock, `NAME==VERSION ; MARKER --hash=sha256:…`, as a component."""
    requirement = Requirement(line.partition("--hash")[0].strip())
    (pin,) = requirement.specifier
    files = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(f"https://pypi.org/project/{requirement.name}/{pin.version}/#files"),
        hashes=[
            HashType(alg=HashAlgorithm.SHA_256, content=content)
            for content in re.findall(r"--hash=sha256:(\w+)", line)
        ],
    )
    purl = PackageURL("pypi", name=requirement.name, version=pin.version)
    return Component(
        name=requirement.name,
        version=pin.version,
        purl=purl,
        bom_ref=str(purl),
        external_references=[files],
    )


def codex() -> list[Component]:
    """Return the package of Codex for each processor."""
    pin = pins()[-1]
    packages = []
    for processor, integrity in pin.integrity.items():
        version = f"{pin.version}-linux-{NPM_CPUS[processor]}"
        purl = PackageURL("npm", "@openai", "codex", version)
        digest = base64.b64decode(integrity.removeprefix("sha512-")).hex()
        packages.append(
            Component(
                group="@openai",
                name="codex",
                version=version,
                purl=purl,
                bom_ref=str(purl),
                hashes=[HashType(alg=HashAlgorithm.SHA_512, content=digest)],
            )
        )
    return packages


def sbom(image: str, parts: list[Component]) -> str:
    """Return the document of an image."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    bom = Bom(components=parts)
    bom.metadata.component = Component(
        name=image, version=version, type=ComponentType.CONTAINER, bom_ref=image
    )
    bom.register_dependency(bom.metadata.component, parts)
    return str(JsonV1Dot6(bom).output_as_string(indent=2))


def base_python() -> str:
    """Return the Python of the base that images stand on unless another is chosen."""
    dockerfile = (ROOT / "images/Dockerfile.control").read_text()
    match = re.search(r"^ARG BASE_IMAGE=python:(\d+\.\d+)-", dockerfile, re.M)
    assert match, "images/Dockerfile.control: its base is not an image of Python"
    return match[1]


def main(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for image, parts in ((CONTROL, locked(base_python())), (AGENT, codex())):
        file = folder / f"{image}.cdx.json"
        file.write_text(sbom(image, parts) + "\n")
        sys.stdout.write(f"wrote {file}: {len(parts)} packages\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
