"""Make `.venv` and install what a lock file pins, then this package itself.

Rules: only the standard library, since nothing is installed yet; every file is checked against its hash and must be a
wheel; package indexes that the machine's own configuration *adds* are switched off, because a name found on an added
index could shadow a pinned one, while its main index, proxy and certificates are kept. Running it again is cheap: a
stamp of the lock file says whether anything has changed.

Usage: python3 tools/bootstrap.py VENV_FOLDER LOCK_FILE
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import subprocess
import sys

# What of the machine's own pip configuration is kept; everything else in it is left out.
KEPT_OPTIONS = ("index-url", "cert", "client-cert", "proxy", "trusted-host", "timeout", "default-timeout", "retries")
HOW_TO_GET_VENV = """\
This Python has no working venv module. One of these lines installs it:
  Debian, Ubuntu, Raspberry Pi OS:  sudo apt-get install -y python3-venv
  macOS:                            brew install python@3.13
"""


def main() -> None:
    """Install, or say in a line or two why not."""
    folder, lock = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    repository = pathlib.Path(__file__).resolve().parent.parent
    python = folder / "bin" / "python"
    wanted = hashlib.sha256(lock.read_bytes() + (repository / "pyproject.toml").read_bytes()).hexdigest()
    stamp = folder / f"installed-{lock.stem}"
    # What the whole lock installs contains what the smaller one does.
    if python.exists() and any(_says(mark, wanted, repository, lock) for mark in (stamp, folder / "installed-dev")):
        return
    if not python.exists():
        print(f"Making {folder} with Python {sys.version.split()[0]} ...", flush=True)
        made = subprocess.run([sys.executable, "-m", "venv", str(folder)], capture_output=True, text=True, check=False)
        if made.returncode or not python.exists():
            sys.exit(HOW_TO_GET_VENV + made.stderr[-500:])
    print(f"Installing what {lock} pins (the first time takes a minute) ...", flush=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    settings = _pip_settings(pip)
    install = [*pip, "install", "--quiet", "--no-warn-script-location"]
    _run([*install, "--require-hashes", "--only-binary", ":all:", "-r", str(lock)], settings)
    _run([*install, "--no-deps", "--no-build-isolation", "--editable", str(repository)], settings)
    stamp.write_text(f"{wanted}\n{repository}\n", encoding="utf-8")


def _says(mark: pathlib.Path, wanted: str, repository: pathlib.Path, lock: pathlib.Path) -> bool:
    if not mark.exists():
        return False
    if mark.stem != f"installed-{lock.stem}":
        dev = lock.with_name("dev.txt").read_bytes() + (repository / "pyproject.toml").read_bytes()
        wanted = hashlib.sha256(dev).hexdigest()
    return mark.read_text(encoding="utf-8").split("\n")[:2] == [wanted, str(repository)]


def _pip_settings(pip: list[str]) -> dict[str, str]:
    """The environment for pip: without the machine's pip configuration but for the options that are kept."""
    listed = subprocess.run([*pip, "config", "list"], capture_output=True, text=True, check=False).stdout
    kept = {}
    for line in listed.splitlines():
        name, equals, value = line.partition("=")
        option = name.rpartition(".")[2]
        if equals and option in KEPT_OPTIONS:
            kept["PIP_" + option.upper().replace("-", "_")] = value.strip().strip("'\"")
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return {**plain, **kept, "PIP_CONFIG_FILE": os.devnull}


def _run(command: list[str], environment: dict[str, str]) -> None:
    if subprocess.run(command, env=environment, check=False).returncode:
        sys.exit("The installation did not finish; nothing else was changed. The lines above say why.")


if __name__ == "__main__":
    main()
