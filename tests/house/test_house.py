"""What a stranger meets first: versions, make, the container, the shell scripts."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from exporter import __version__

from .pages import ROOT


def _project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project


def _constraints() -> dict[str, Version]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, _, version in (line.partition("==") for line in lines)}


def _run(*words: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False, **kwargs)


def _tool(name: str) -> str:
    """A program that came with the test extra."""
    return str(Path(sys.executable).parent / name)


# -- versions


def test_constraints_are_names_and_versions_only() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines()[1:]:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.!+]*", line), line


def test_every_dependency_has_a_tested_version_that_satisfies_it() -> None:
    project, tested = _project(), _constraints()
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(text for extra in extras for text in extra)]
    for requirement in map(Requirement, wanted):
        if requirement.name == "atoms-exporter":
            continue
        name = canonicalize_name(requirement.name)
        assert name in tested, f"{name}: run make constraints"
        assert requirement.specifier.contains(tested[name], prereleases=True), f"{name}: run make constraints"


def _imported(file: Path) -> set[str]:
    """The modules a file imports, at its top or anywhere else, by their first name."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_the_package_imports_only_what_it_declares() -> None:
    """What only the test extra brings is missing in `make demo` and in the container; a fleet has its own."""
    declared = _names(_project()["dependencies"])
    of_a_fleet = declared | _names(_project()["optional-dependencies"]["fleet"])
    providers = packages_distributions()
    for file in sorted((ROOT / "exporter").rglob("*.py")):
        for module in _imported(file) - sys.stdlib_module_names - {"exporter"}:
            distributions = {canonicalize_name(name) for name in providers.get(module, [])}
            allowed = of_a_fleet if file.is_relative_to(ROOT / "exporter" / "fleet") else declared
            assert distributions & allowed, f"{file.relative_to(ROOT)} imports {module}: declare it"


def _names(requirements: list[str]) -> set[str]:
    return {str(canonicalize_name(Requirement(text).name)) for text in requirements}


def test_the_extra_of_a_fleet_is_not_needed_without_one() -> None:
    program = "import sys, exporter.cli.app; sys.exit('redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_every_dependency_has_a_lower_bound() -> None:
    for requirement in map(Requirement, _project()["dependencies"]):
        assert {spec.operator for spec in requirement.specifier} & {">=", "=="}, requirement


def test_the_changelog_knows_this_version() -> None:
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_licence_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


# -- make


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone in which everything was installed just now, as far as make can tell."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    (tmp_path / ".venv").mkdir()
    for place in tmp_path.rglob("*"):
        os.utime(place, (1e9, 1e9))
    for stamp in (".run", ".test"):
        (tmp_path / ".venv" / stamp).touch()
    return tmp_path


def _installs(checkout: Path, target: str) -> int:
    done = _run("make", "--dry-run", "--no-print-directory", target, cwd=checkout, env={"PATH": os.environ["PATH"]})
    assert done.returncode == 0, done.stderr
    return done.stdout.count("pip install")


def test_a_second_make_installs_nothing(checkout: Path) -> None:
    assert _installs(checkout, "test") == 0
    assert _installs(checkout, "demo") == 0


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
def test_a_change_of_the_dependencies_installs_again(checkout: Path, changed: str) -> None:
    os.utime(checkout / changed, (4e9, 4e9))
    assert _installs(checkout, "test") == 1
    assert _installs(checkout, "demo") == 1


def test_make_alone_lists_the_targets() -> None:
    done = _run("make", "--no-print-directory", cwd=ROOT, env={"PATH": os.environ["PATH"]})
    assert {"demo", "test", "check", "bench", "docs", "image"} <= {line.split()[1] for line in done.stdout.splitlines()}


def _python_that(tmp_path: Path, condition: str, otherwise: str = "exit 1") -> str:
    """An interpreter that cannot do what its arguments match; for everything else it is the real one."""
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\ncase "$*" in {condition}) {otherwise} ;; esac\nexec {sys.executable} "$@"\n')
    script.chmod(0o755)
    return str(script)


def _venv(python: str, directory: Path, path: Sequence[str] = ("/usr/bin", "/bin")) -> subprocess.CompletedProcess[str]:
    return _run("sh", str(ROOT / ".ci" / "venv"), python, str(directory), env={"PATH": ":".join(path)})


def test_a_python_without_ensurepip_is_told_what_to_install(tmp_path: Path) -> None:
    done = _venv(_python_that(tmp_path, "*ensurepip*"), tmp_path / "venv")
    assert done.returncode == 1
    assert re.search(r"apt-get install python3\.\d+-venv", done.stderr)
    assert not (tmp_path / "venv").exists()


def test_an_old_python_is_told_so(tmp_path: Path) -> None:
    old = _python_that(tmp_path, "*version_info*", "exit 1")
    done = _venv(old, tmp_path / "venv")
    assert done.returncode == 1
    assert "3.11 or newer" in done.stderr


def test_a_half_made_environment_is_made_again(tmp_path: Path) -> None:
    directory = tmp_path / "venv"
    (directory / "bin").mkdir(parents=True)
    (directory / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    (directory / "bin" / "python").chmod(0o755)
    done = _venv(sys.executable, directory)
    assert done.returncode == 0, done.stderr
    assert _run(str(directory / "bin" / "python"), "-m", "pip", "--version").returncode == 0


# -- scripts and the container


def test_the_shell_scripts_are_clean() -> None:
    scripts = sorted(str(path) for path in (ROOT / ".ci").iterdir())
    assert scripts
    done = _run(_tool("shellcheck"), *scripts)
    assert done.returncode == 0, done.stdout


def test_ci_runs_what_make_test_runs() -> None:
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("exec make test")
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_hadolint_is_silent() -> None:
    done = _run(_tool("hadolint"), str(ROOT / "Dockerfile"))
    assert (done.returncode, done.stdout) == (0, "")


def _dockerfile() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]


def test_the_image_runs_without_root_and_says_how_it_is() -> None:
    steps = _dockerfile()
    last = steps[max(place for place, (word, _) in enumerate(steps) if word == "FROM") :]
    final = dict(last)
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", final["USER"]), "a number, so that runAsNonRoot can be checked"
    assert final["ENTRYPOINT"] == '["atoms-exporter"]'
    assert f"STATE_DIRECTORY={json.loads(final['VOLUME'])[0]} " in final["ENV"], "counts outlive the container"
    assert final["CMD"] == '["run"]'
    assert final["EXPOSE"] == "9464"
    assert "exporter.healthcheck" in final["HEALTHCHECK"]
    assert not any("pip install" in step for word, step in last if word == "RUN")


def test_the_build_context_has_what_the_image_copies_and_nothing_else() -> None:
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    allowed = {line[1:] for line in ignored if line[0] == "!"}
    copied = {
        source
        for word, step in _dockerfile()
        if word == "COPY" and "--from" not in step
        for source in step.split()[:-1]
    }
    assert ignored[0] == "*"
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)


def test_one_place_reads_the_environment() -> None:
    """And the container's health check, which stands alone. (A library's own switch may be set there, not read.)"""
    found = {
        str(path.relative_to(ROOT / "exporter"))
        for path in (ROOT / "exporter").rglob("*.py")
        if re.search(
            r"\bos\.(environ(?!\.setdefault)|getenv)|\bgetproxies\b|trust_env=True", path.read_text(encoding="utf-8")
        )
    }
    assert found == {"config/environment.py", "healthcheck.py"}
