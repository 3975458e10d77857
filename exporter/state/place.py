"""Where state is kept when nobody names a file."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from exporter.state.opening import may_be_opened

_FOLDER = "atoms-exporter"


def default_path(env: Mapping[str, str], account: str) -> Path | str:
    """A file of its own for each account; or, as text, why there is no place for it.

    ``STATE_DIRECTORY`` is what systemd gives a unit; else the XDG state directory, which belongs to a user.
    """
    if env.get("STATE_DIRECTORY", "").strip():
        folder = Path(env["STATE_DIRECTORY"].split(":")[0].strip())
    elif env.get("XDG_STATE_HOME", "").strip():
        folder = Path(env["XDG_STATE_HOME"].strip()) / _FOLDER
    elif env.get("HOME", "").strip():
        folder = Path(env["HOME"].strip()) / ".local" / "state" / _FOLDER
    else:
        return "there is no STATE_DIRECTORY, XDG_STATE_HOME or HOME"
    if not folder.is_absolute():
        return f"{folder} is not an absolute path"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        return f"{folder} cannot be made: {problem.strerror}"
    path = folder / f"{sha256(account.encode()).hexdigest()[:16]}.db"
    return path if may_be_opened(path) else f"{path} may not be written by this user"
