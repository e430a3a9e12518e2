"""A machine of the tests' own, with a real service manager: Debian in a container, by debootstrap and systemd-nspawn.

`python -m tests.attacks.machine` makes the tree of Debian's files in advance, as a file that git ignores. A test
unpacks it, boots it, and removes what it has unpacked. Nothing is registered with the machine's own service manager,
and the container has a network of its own, without any other machine in it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".machine" / "bookworm.tar"
"""The tree, kept for the next run."""

SUITE, MIRROR = "bookworm", "http://deb.debian.org/debian"
PYTHON = (3, 11)
"""The Python of that suite: the wheels that are installed are of this one."""

INCLUDED = "systemd,systemd-sysv,dbus,python3,python3-venv"
FETCH = f"""
mount -t tmpfs -o size=1G,mode=0755 none "$1"
debootstrap --variant=minbase --include={INCLUDED} {SUITE} "$1" {MIRROR}
rm -rf "$1"/var/cache/apt/archives
tar cf "$2" -C "$1" .
"""
"""Script that fetches the tree into the directory $1, in memory, and packs it as $2."""

TOOLS = ("debootstrap", "systemd-nspawn", "nsenter", "unshare")

PATIENCE = 60.0
"""Seconds for one command in the container; all take a few at most."""


class NoMachineError(Exception):
    """Absence of something that the container needs. str() says what."""


def make(seconds: float) -> Path:
    """Return the tree of Debian's files, packed. Fetch it if it is not there, which may take so many seconds."""
    if KEPT.exists():
        return KEPT
    for tool in TOOLS:
        if shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            raise NoMachineError(f"{tool} is not installed here")
    if os.getuid() != 0:
        raise NoMachineError("only root can boot a container")
    KEPT.parent.mkdir(exist_ok=True)
    part = KEPT.with_suffix(f".{os.getpid()}")
    with tempfile.TemporaryDirectory(prefix="ibdebian", dir="/var/tmp") as directory:
        # In namespaces of its own: if it is broken off, its children end and its mounts are gone. In memory, because
        # dpkg waits for the disk after each file.
        command = [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "sh",
            "-e",
            "-c",
            FETCH,
            "sh",
        ]
        try:
            done = subprocess.run([*command, directory, part], capture_output=True, timeout=seconds, check=False)
            if done.returncode:
                said = (done.stdout + done.stderr).decode(errors="replace")
                raise NoMachineError(f"debootstrap failed: {said[-500:]}")
            part.rename(KEPT)
        except subprocess.TimeoutExpired:
            raise NoMachineError(f"{MIRROR} did not give Debian {SUITE} within {seconds:.0f} s") from None
        finally:
            part.unlink(missing_ok=True)
    return KEPT


class Machine:
    """Container with a service manager, booted while the block lasts. `root` is its file system."""

    def __init__(self, seconds: float) -> None:
        packed = make(seconds)
        self._directory = tempfile.mkdtemp(prefix="ibmachine", dir="/var/tmp")
        self.root = Path(self._directory) / "root"
        self._name = f"ibbridge-test-{os.getpid()}"
        self._log = Path(self._directory) / "console.log"
        self._leader = 0
        try:
            self.root.mkdir()
            subprocess.run(["tar", "xf", packed, "-C", self.root], check=True, timeout=PATIENCE)
            (self.root / "etc/hostname").write_text("ibbridge-test\n")
        except BaseException:
            shutil.rmtree(self._directory, ignore_errors=True)
            raise

    def __enter__(self) -> Self:
        command = ["systemd-nspawn", "--quiet", "--boot", f"--directory={self.root}", f"--machine={self._name}"]
        # Neither registered nor in a unit of its own: a machine without systemd has nobody to do that.
        command += ["--register=no", "--keep-unit", "--link-journal=no", "--private-network", "--console=pipe"]
        with self._log.open("wb") as log:
            self._container = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self._wait_for_boot(time.monotonic() + PATIENCE)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _wait_for_boot(self, until: float) -> None:
        while time.monotonic() < until:
            if self._container.poll() is not None:
                break
            self._leader = self._leader or _child(self._container.pid)
            if self._leader and self.run("systemctl", "is-system-running", ok=(0, 1)).strip() in (
                "running",
                "degraded",
            ):
                return
            time.sleep(0.2)
        raise NoMachineError(f"systemd-nspawn booted no container: {self._log.read_text(errors='replace')[-500:]}")

    def run(self, *command: str, ok: tuple[int, ...] = (0,), seconds: float = PATIENCE) -> str:
        """Run a command in the container, and return what it writes. Fail if its exit code is not one of `ok`."""
        inside = ["nsenter", f"--target={self._leader}", "--all", "--", *command]
        done = subprocess.run(inside, capture_output=True, text=True, timeout=seconds, check=False)
        assert done.returncode in ok, (
            f"{' '.join(command)}: {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
        return done.stdout + done.stderr

    def properties(self, unit: str, *names: str) -> dict[str, str]:
        """Return properties of a unit."""
        lines = self.run("systemctl", "show", unit, *(f"--property={name}" for name in names)).splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def wait_for(self, unit: str, seconds: float, **wanted: str) -> None:
        """Wait until properties of a unit have these values."""
        until = time.monotonic() + seconds
        while (found := self.properties(unit, *wanted)) != wanted:
            assert time.monotonic() < until, f"{unit} is {found}, not {wanted}: {self.journal(unit)[-3000:]}"
            time.sleep(0.2)

    def journal(self, unit: str) -> str:
        """Return what the journal has of a unit, and of systemd about it."""
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file of the container."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def __exit__(self, *_: object) -> None:
        """End the container, by the end of its first process, and remove its files."""
        with contextlib.suppress(ProcessLookupError):
            if self._leader and self._container.poll() is None:
                os.kill(self._leader, signal.SIGKILL)
        try:
            self._container.wait(10)
        except subprocess.TimeoutExpired:
            self._container.kill()
            self._container.wait()
        shutil.rmtree(self._directory, ignore_errors=True)


def _child(pid: int) -> int:
    """Return the first child of a process: the first process of the container; 0 if it has none yet."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0
    return int(children[0]) if children else 0


if __name__ == "__main__":
    try:
        print(make(float(sys.argv[1]) if len(sys.argv) > 1 else 200.0))  # noqa: T201
    except NoMachineError as error:
        sys.exit(f"no container is to be had here: {error}")
