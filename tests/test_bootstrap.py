"""`make run` and `make test` on machines that lack something: one line that says what to do.

The scripts run for real, in a copy of the project, with nothing on PATH but ordinary tools and
Pythons that the test made up.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
TOOLS = [
    *("sh", "awk", "cat", "chmod", "cksum", "cp", "df", "dirname", "grep", "id", "ln", "mkdir"),
    *("paste", "readlink", "rm", "sleep", "tail", "touch", "tr", "uname"),
]

# Answers what the scripts ask of a Python; `pip install` goes as the test wants it to.
FAKE_PYTHON = """#!/bin/sh
case "$*" in
    *version_info*) echo {version} ;;
    *ensurepip*) exit {ensurepip} ;;
    "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python && echo venv >>asked ;;
    "-m pip install"*) echo "$*" >>asked; {pip} ;;
esac
"""


class Machine:
    """A folder with a copy of the project, and a PATH that holds only what the test put there."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "project"
        self.bin = folder / "bin"
        self.bin.mkdir()
        for tool in TOOLS:
            if path := shutil.which(tool):
                (self.bin / tool).symlink_to(path)
        for part in ("scripts", "requirements"):
            shutil.copytree(ROOT / part, self.project / part)
        shutil.copy(ROOT / "pyproject.toml", self.project)

    def has_program(self, name: str, script: str = "") -> None:
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(script or "#!/bin/sh\n")
        path.chmod(0o755)

    def has_python(
        self, name: str, version: str = "3.12", *, ensurepip: bool = True, pip: str = ""
    ) -> None:
        self.has_program(
            name, FAKE_PYTHON.format(version=version, ensurepip=int(not ensurepip), pip=pip)
        )

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [f"scripts/{command[0]}", *command[1:]],
            cwd=self.project,
            env={"PATH": str(self.bin), "LC_ALL": "C", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*command, **environment)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def complaint(self, *command: str, **environment: str) -> str:
        """The one line that a failing command ends with; everything before is progress."""
        result = self.run(*command, **environment)
        assert result.returncode != 0
        assert "Traceback" not in result.stderr
        lines = [line for line in result.stderr.splitlines() if not line.endswith("…")]
        assert len(lines) == 1, result.stderr
        return lines[0]

    @property
    def venv(self) -> Path:
        return self.project / ".venv"

    def asked(self) -> list[str]:
        """What was asked of Python since the last call."""
        record = self.project / "asked"
        if not record.exists():
            return []
        lines = record.read_text().splitlines()
        record.unlink()
        return lines


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_an_old_python_is_told_apart_from_none(machine: Machine) -> None:
    assert "(there is no python3)" in machine.complaint("bootstrap", "run")
    machine.has_python("python3", "3.9")
    complaint = machine.complaint("bootstrap", "run")
    assert "Python 3.11 or newer is needed (python3 is 3.9)" in complaint
    assert "apt-get install python3.11 python3.11-venv" in complaint
    assert not machine.venv.exists()


def test_the_first_python_that_is_new_enough_is_taken(machine: Machine) -> None:
    machine.has_python("python3", "3.10")
    machine.has_program("python3.14", "#!/bin/sh\necho 'python3.14: not found' >&2; exit 127\n")
    machine.has_python("python3.13", "3.13")
    machine.has_python("python3.12", "3.12")
    assert machine.run("bootstrap", "python").stdout == f"{machine.bin}/python3.13\n"


def test_a_python_can_be_named(machine: Machine) -> None:
    machine.has_python("python3", "3.13")
    machine.has_python("my python", "3.11")
    named = f"{machine.bin}/my python"
    assert machine.run("bootstrap", "python", PYTHON=named).stdout == f"{named}\n"
    assert "there is no /nowhere" in machine.complaint("bootstrap", "run", PYTHON="/nowhere")


def test_an_activated_venv_is_not_what_the_next_is_made_from(machine: Machine) -> None:
    machine.has_python("python3")
    (machine.venv / "bin").mkdir(parents=True)
    shutil.copy(machine.bin / "python3", machine.venv / "bin")
    path = f"{machine.venv}/bin:{machine.bin}"
    assert machine.run("bootstrap", "python", PATH=path).stdout == f"{machine.bin}/python3\n"


@pytest.mark.parametrize(
    ("python", "package"), [("python3", "python3-venv"), ("python3.12", "python3.12-venv")]
)
def test_a_missing_venv_package_is_named(machine: Machine, python: str, package: str) -> None:
    machine.has_python(python, ensurepip=False)
    assert f"apt-get install {package})" in machine.complaint("bootstrap", "run")
    assert not machine.venv.exists()


@pytest.mark.parametrize(("user", "command"), [("0", "apt-get"), ("1000", "sudo apt-get")])
def test_sudo_is_named_to_those_who_need_it(machine: Machine, user: str, command: str) -> None:
    machine.has_program("id", f"#!/bin/sh\necho {user}\n")
    machine.has_python("python3", ensurepip=False)
    assert f": {command} install python3-venv)" in machine.complaint("bootstrap", "run")


def test_a_full_disk_is_noticed_beforehand(machine: Machine) -> None:
    machine.has_python("python3")
    machine.has_program("df", "#!/bin/sh\necho Head\necho /dev/disk 9999999 9999999 20480 99% /\n")
    complaint = machine.complaint("bootstrap", "run")
    assert "20 MB are free" in complaint
    assert "needs 400 MB" in complaint
    assert not machine.venv.exists()


def test_a_folder_that_cannot_be_written_is_named() -> None:
    # Not tmp_path: that is closed to the ordinary user who has to be tried here.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        machine = Machine(folder)
        machine.has_python("python3")
        machine.project.chmod(0o555)
        result = subprocess.run(
            [machine.project / "scripts" / "bootstrap", "run"],
            env={"PATH": str(machine.bin)},
            user=65534 if os.geteuid() == 0 else None,
            capture_output=True,
            text=True,
            check=False,
        )
        machine.project.chmod(0o755)
    assert result.returncode == 1
    assert result.stderr.startswith(f"Nothing can be written in {machine.project}.")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("pip_says", "advice"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
         "Make room, then run make again."),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.",
         "A downloaded package is not the one that is locked."),
        ("error: metadata-generation-failed", "no ready-made build for this system"),
        ("ERROR: something new", "Installing packages failed: ERROR: something new"),
    ],
)  # fmt: skip
def test_what_stopped_pip_is_put_in_a_line(machine: Machine, pip_says: str, advice: str) -> None:
    machine.has_python("python3", pip=f"echo '{pip_says}' >&2; exit 1")
    complaint = machine.complaint("bootstrap", "run")
    assert advice in complaint
    assert complaint.endswith("Details: .venv/setup.log")
    assert pip_says in (machine.venv / "setup.log").read_text()


def test_no_network_is_put_in_a_line(machine: Machine, unused_port: int) -> None:
    """With a real Python and a real pip, whose words change from version to version."""
    complaint = machine.complaint(
        "bootstrap",
        "run",
        PYTHON=sys.executable,
        HOME=str(machine.project),
        PIP_CONFIG_FILE=os.devnull,
        PIP_INDEX_URL=f"http://127.0.0.1:{unused_port}/",
        PIP_RETRIES="1",
    )
    assert "The packages cannot be downloaded. Check the network" in complaint


@pytest.fixture
def unused_port() -> Iterator[int]:
    with socket.socket() as bound:  # bound but not listening: connections are refused
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_a_second_time_nothing_is_done(machine: Machine) -> None:
    machine.has_python("python3")
    assert machine.run("bootstrap", "run").returncode == 0
    assert [line.rpartition(" ")[2] for line in machine.asked()] == [
        "venv", "requirements/build.txt", "requirements/run.txt", "."
    ]  # fmt: skip
    assert machine.run("bootstrap", "run").stderr == ""
    assert machine.asked() == []


def test_what_tests_need_holds_what_the_service_needs(machine: Machine) -> None:
    machine.has_python("python3")
    machine.run("bootstrap", "test")
    machine.asked()
    machine.run("bootstrap", "run")
    assert machine.asked() == []


def test_only_locked_packages_are_installed(machine: Machine) -> None:
    machine.has_python("python3")
    machine.run("bootstrap", "test")
    _, build, test, project = machine.asked()
    for command in (build, test):
        assert "--require-hashes" in command
        assert "--no-build-isolation" in command  # it would fetch build tools that no one locked
    assert "--no-deps -e ." in project


def test_another_lock_is_installed_into_the_same_venv(machine: Machine) -> None:
    machine.has_python("python3")
    machine.run("bootstrap", "run")
    machine.asked()
    with (machine.project / "requirements/run.txt").open("a") as lock:
        lock.write("# another\n")
    machine.run("bootstrap", "run")
    asked = machine.asked()
    assert len(asked) == 3
    assert "venv" not in asked


def test_an_installation_that_was_cut_short_begins_again(machine: Machine) -> None:
    machine.has_python("python3", pip="kill -9 $PPID")
    assert machine.run("bootstrap", "run").returncode == -9
    machine.has_python("python3")
    assert machine.run("bootstrap", "run").returncode == 0
    assert "venv" in machine.asked()


def test_a_venv_whose_python_has_gone_is_made_again(machine: Machine) -> None:
    machine.has_python("python3")
    machine.run("bootstrap", "run")
    machine.asked()
    (machine.venv / "bin/python").unlink()
    assert machine.run("bootstrap", "run").returncode == 0
    assert "venv" in machine.asked()


def test_a_folder_that_has_moved_gets_a_new_venv(machine: Machine) -> None:
    machine.has_python("python3")
    machine.run("bootstrap", "run")
    machine.asked()
    machine.project = machine.project.rename(machine.project.with_name("moved"))
    assert machine.run("bootstrap", "run").returncode == 0
    assert "venv" in machine.asked()


def test_two_at_once_take_turns(machine: Machine) -> None:
    machine.has_python("python3")
    lock = machine.project / ".venv.lock"
    lock.symlink_to(str(os.getpid()))
    process = machine.start("bootstrap", "run")
    assert process.stderr
    assert process.stderr.readline().startswith(f"Waiting for process {os.getpid()}")
    assert not machine.venv.exists()
    lock.unlink()
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert machine.venv.exists()
    assert not lock.is_symlink()


def test_a_lock_without_an_owner_is_taken_over(machine: Machine) -> None:
    machine.has_python("python3")
    with subprocess.Popen(["true"]) as ended:
        pass
    (machine.project / ".venv.lock").symlink_to(str(ended.pid))
    assert machine.run("bootstrap", "run").returncode == 0


def test_missing_system_packages_are_named_and_skipped(machine: Machine) -> None:
    result = machine.run("system-packages")
    assert result.returncode == 0
    assert re.search("SKIPPED: .*chromium .*firefox-esr", result.stderr)
    machine.has_program("chromium")
    assert "chromium" not in machine.run("system-packages").stderr


def test_in_ci_a_missing_system_package_is_an_error(machine: Machine) -> None:
    result = machine.run("system-packages", CI="true")
    assert result.returncode == 1
    assert "chromium" in result.stderr


def test_root_of_debian_gets_system_packages_installed(machine: Machine) -> None:
    machine.has_program("id", "#!/bin/sh\necho 0\n")
    machine.has_program(
        "apt-get",
        """#!/bin/sh
        [ "$1" = update ] && exit
        for package in "$@"; do :; done
        echo "$package" >>installed
        [ "$package" = firefox-esr ] && exit 100
        touch "${0%/*}/$package" && chmod +x "${0%/*}/$package"
        """,
    )
    result = machine.run("system-packages")
    installed = (machine.project / "installed").read_text().splitlines()
    assert {"python3-venv", "chromium", "firefox-esr"} <= set(installed)
    assert "firefox-esr could not be installed." in result.stderr  # and the others were
    assert "chromium" not in result.stderr.splitlines()[-1]


def locked(name: str) -> dict[str, str]:
    """The versions that requirements/`name`.txt locks."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    assert "://" not in text
    blocks = re.split(r"\n(?=\S)", text.strip())
    assert all("--hash=sha256:" in block for block in blocks)
    return {
        canonicalize_name(package): version
        for package, version in (block.split()[0].split("==") for block in blocks)
    }


@pytest.mark.parametrize("name", ["run", "test"])
def test_the_lock_has_every_dependency(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = list(project["project"]["dependencies"])
    if name == "test":
        wanted += project["dependency-groups"]["dev"]
    versions = locked(name)
    for requirement in map(Requirement, wanted):
        version = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement}: make lock"


def test_tests_run_with_the_versions_of_the_service() -> None:
    assert locked("run").items() <= locked("test").items()
