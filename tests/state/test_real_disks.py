"""Disks that fail in earnest: full, read-only from the start or under way, with I/O errors. Mounting takes root."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.outputs.prometheus.series import View
from exporter.state.sqlite import SQLiteStore
from tests.support.desk import Desk
from tests.support.peers import missing

STARTED = "atoms_calls_started_total"


def _run(*command: str) -> str:
    """What went wrong, if anything."""
    if shutil.which(command[0]) is None:
        return f"there is no {command[0]}"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr.strip() or str(done.returncode) if done.returncode else ""


def _fill(path: Path) -> None:
    """All the room there is."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\xa5" * 4096):
            pass


_OPTIONS = "loop,errors=remount-ro"


class Disk:
    """An ext4 file system on a loop device, whose device is a file in a small tmpfs: when that is full, the device
    answers with I/O errors."""

    def __init__(self, folder: Path) -> None:
        self.device, self.root = folder / "device", folder / "disk"
        self.device.mkdir()
        self.root.mkdir()
        image = self.device / "image"
        problem = _run("mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(self.device))
        if not problem:
            with image.open("wb") as file:
                file.truncate(16 << 20)
            options = "lazy_itable_init=0,lazy_journal_init=0,nodiscard"
            problem = _run("mkfs.ext4", "-q", "-F", "-J", "size=1", "-b", "1024", "-E", options, str(image))
        problem = problem or _run("mount", "-o", _OPTIONS, str(image), str(self.root))
        if problem:
            self.gone()
            missing(f"no file system of its own can be mounted: {problem}")

    @property
    def path(self) -> Path:
        return self.root / "state.db"

    def breaks(self) -> None:
        """From now on what is written to it meets an I/O error."""
        _fill(self.device / "rest")

    def is_repaired(self) -> None:
        (self.device / "rest").unlink()

    def fails(self) -> None:
        """The file system goes read-only by itself, as it does after errors, with files open for writing."""
        subprocess.run(["mount", "-o", "remount,abort", str(self.root)], capture_output=True, check=False)

    def read_only(self) -> None:
        """As the administrator does it, with no file open."""
        subprocess.run(["mount", "-o", "remount,ro", str(self.root)], check=True)

    def writable(self) -> None:
        subprocess.run(["mount", "-o", "remount,rw", str(self.root)], check=True)

    def checked(self) -> None:
        """Taken away, repaired, and back."""
        image = self.device / "image"
        subprocess.run(["umount", str(self.root)], check=True)
        subprocess.run(["e2fsck", "-f", "-y", str(image)], capture_output=True, check=False)
        subprocess.run(["mount", "-o", _OPTIONS, str(image), str(self.root)], check=True)

    def is_full(self) -> None:
        """Only the file system: its device has room."""
        _fill(self.root / "rest")

    def gone(self) -> None:
        for folder in (self.root, self.device):
            if os.path.ismount(folder):
                subprocess.run(["umount", "-l", str(folder)], check=False)


_MAY_MOUNT = 1 << 21  # CAP_SYS_ADMIN


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    status = Path("/proc/self/status").read_text()
    if not int(status.partition("CapEff:")[2].split()[0], 16) & _MAY_MOUNT:
        pytest.skip("mounting a file system takes a root who may")
    made = Disk(tmp_path)
    yield made
    made.gone()


class DeskOnDisk(Desk):
    """A life on this disk: what was kept is there again. ``known`` are the calls of which something was."""

    def __init__(self, disk: Disk, max_stale: float = 3600.0) -> None:
        self.store = SQLiteStore(disk.path, patience_seconds=0.1)
        super().__init__(store=self.store, max_stale=max_stale)
        state = self.store.load()
        self.keeping.restore(state)
        self.known = [call.call_id for call in state.calls]


def shown(desk: Desk, *, kept: bool = False) -> float:
    """Calls started, as a page shows them: as they are, or as they were last kept."""
    page = desk.metrics.store.render(False, [STARTED], View(kept=kept))
    return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith(STARTED))


async def _until_it_fails(desk: Desk) -> str:
    """Count and keep until nothing can be kept any more; SQLite's name for why."""
    for number in range(200):
        desk.feed(f"CALL-{number}", *range(100, 60_000, 100))
        if not await desk.keeping.keep():
            (reason,) = (e["reason"] for e in desk.log.entries if e["event"] == "what is counted cannot be kept")
            return str(reason)
    raise AssertionError("it never failed")


async def test_io_errors_cost_nothing_that_was_kept_and_are_not_taken_for_damage(disk: Disk) -> None:
    desk = DeskOnDisk(disk)
    desk.feed("one", 100)
    assert await desk.keeping.keep()
    disk.breaks()
    assert (await _until_it_fails(desk)).startswith("SQLITE_IOERR")
    kept = shown(desk, kept=True)
    assert shown(desk) == kept + 1 >= 2
    assert not await desk.keeping.may_go_ahead(), "max_stale is not over"
    desk.store.close()
    disk.is_repaired()
    disk.checked()
    again = DeskOnDisk(disk)
    assert shown(again) == kept
    assert len(again.known) == kept, "each with its identities"
    assert not list(disk.root.glob("*damaged*"))
    again.store.close()


async def test_a_disk_that_goes_read_only_under_way_is_tried_again_and_nothing_is_shown_that_is_not_kept(
    disk: Disk,
) -> None:
    desk = DeskOnDisk(disk, max_stale=0.0)
    desk.feed("one", 100)
    assert await desk.keeping.keep()
    disk.fails()
    desk.feed("two", 100)
    assert not await desk.keeping.keep()
    assert not await desk.keeping.may_go_ahead(), "the next life cannot be told"
    assert shown(desk, kept=True) == 1
    desk.store.close()
    disk.checked()
    again = DeskOnDisk(disk)
    assert shown(again) == 1
    again.feed("two", 100)
    assert await again.keeping.keep()
    assert shown(again, kept=True) == 2
    again.store.close()


async def test_a_start_on_a_read_only_disk_is_no_end_and_counts_nothing_twice(disk: Disk) -> None:
    desk = DeskOnDisk(disk)
    desk.feed("one", 100)
    assert await desk.keeping.keep()
    desk.store.close()
    disk.read_only()
    again = DeskOnDisk(disk, max_stale=0.0)
    again.feed("two", 100)
    assert not await again.keeping.keep()
    assert not await again.keeping.may_go_ahead()
    assert shown(again, kept=True) == 1, "as it was kept: nobody sees a step back"
    disk.writable()
    assert await again.keeping.keep()
    assert shown(again, kept=True) == 2
    again.store.close()
    last = DeskOnDisk(disk)
    assert shown(last) == 2
    last.store.close()


async def test_a_start_on_a_read_only_disk_after_a_crash_reads_what_was_only_in_the_log(disk: Disk) -> None:
    desk = DeskOnDisk(disk)
    desk.feed("one", 100)
    assert await desk.keeping.keep()
    left = {file: file.read_bytes() for file in disk.root.glob("state.db*")}
    desk.store.close()
    for file, content in left.items():
        file.write_bytes(content)
    assert (disk.root / "state.db-wal").stat().st_size > 0
    disk.read_only()
    again = DeskOnDisk(disk, max_stale=0.0)
    assert shown(again, kept=True) == 1
    again.feed("two", 100)
    assert not await again.keeping.keep()
    assert not await again.keeping.may_go_ahead()
    disk.writable()
    await again.keeping.keep()  # finds out that it can be written
    assert await again.keeping.keep()
    assert shown(again, kept=True) == 2
    again.store.close()
    last = DeskOnDisk(disk)
    assert shown(last) == 2
    last.store.close()


async def test_of_two_that_started_on_a_read_only_disk_one_writes_when_it_is_not_any_more(disk: Disk) -> None:
    desk = DeskOnDisk(disk)
    assert await desk.keeping.keep()
    desk.store.close()
    disk.read_only()
    one, other = DeskOnDisk(disk), DeskOnDisk(disk)
    for each in (one, other):
        each.feed("one", 100)
        assert not await each.keeping.keep()
    disk.writable()
    assert await one.keeping.keep()
    assert not await other.keeping.keep()
    one.store.close()
    other.store.close()
    last = DeskOnDisk(disk)
    assert shown(last) == 1
    last.store.close()


async def test_a_damaged_file_that_cannot_be_set_aside_is_no_crash(disk: Disk) -> None:
    desk = DeskOnDisk(disk)
    desk.feed("one", *range(100, 60_000, 100))
    assert await desk.keeping.keep()
    desk.store.close()
    content = disk.path.read_bytes()
    disk.path.write_bytes(content[:2000] + b"\xa5" * (len(content) - 2000))
    disk.read_only()
    again = DeskOnDisk(disk, max_stale=0.0)
    assert not await again.keeping.keep()
    disk.writable()
    again.feed("two", 100)
    assert await again.keeping.keep()
    assert list(disk.root.glob("*damaged*"))
    again.store.close()


async def test_a_full_disk_lets_the_next_life_be_told(disk: Disk) -> None:
    """The flag was made at the start: setting it needs no room."""
    desk = DeskOnDisk(disk, max_stale=0.0)
    desk.feed("one", 100)
    assert await desk.keeping.keep()
    disk.is_full()
    assert await _until_it_fails(desk) == "SQLITE_FULL"
    assert await desk.keeping.may_go_ahead()
    desk.store.close()
    again = DeskOnDisk(disk)
    assert shown(again) == 0, "more was shown than is kept"
    again.store.close()
