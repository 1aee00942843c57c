"""Files are there whole or not at all, and a manifest that cannot be trusted counts as none."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from resources.errors import StoreError
from resources.store import Store, atomic_path, content_hash, file_hash, write_bytes


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def commit(
    store: Store, text: str = "content", identity: dict[str, object] | None = None, partition: str = "task"
):
    path = store.path("study", "asset", partition, ".txt")
    write_bytes(path, text.encode())
    return store.commit("study", "asset", partition, identity=identity or {"code": "1"}, paths=[path])


# --- writing -------------------------------------------------------------------------------------------------


def test_a_file_appears_whole_when_the_block_ends(tmp_path: Path) -> None:
    destination = tmp_path / "deep" / "file.bin"
    with atomic_path(destination) as temporary:
        temporary.write_bytes(b"half")
        assert not destination.exists()
        temporary.write_bytes(b"whole")
    assert destination.read_bytes() == b"whole"
    assert list(destination.parent.iterdir()) == [destination]


def test_an_error_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    destination = tmp_path / "file.bin"
    write_bytes(destination, b"old")
    with pytest.raises(ZeroDivisionError), atomic_path(destination) as temporary:  # noqa: PT012
        temporary.write_bytes(b"new, but")
        1 / 0  # noqa: B018
    assert destination.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [destination]


def test_a_block_that_wrote_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"file\.bin"), atomic_path(tmp_path / "file.bin"):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match=r"x\.bin: cannot be written .*file/"):
        write_bytes(tmp_path / "file" / "x.bin", b"")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to read-only folders")
def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreError, match="cannot be written"):
            write_bytes(tmp_path / "x.bin", b"x")
    finally:
        tmp_path.chmod(0o700)


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 256 kB, which is also made read-only by the test that wants it so."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_said_in_one_line_and_spoils_nothing(small_disk: Path) -> None:
    store = Store(small_disk)
    rows = pl.DataFrame({"n": range(10)})
    store.write_table("study", "counts", None, rows)
    noise = pl.DataFrame({"n": pl.Series(range(200_000)).hash()})
    with pytest.raises(StoreError, match="cannot be written"):
        store.write_table("study", "counts", None, noise)
    with pytest.raises(StoreError, match="cannot be written"):
        write_bytes(small_disk / "study" / "big.bin", os.urandom(400_000))
    assert store.read_table("study", "counts", [None]).equals(rows)
    assert [path.name for path in small_disk.rglob("*") if path.is_file()] == ["_.parquet"]


def test_a_disk_mounted_read_only_is_said_in_one_line(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StoreError, match="Read-only"):
        write_bytes(small_disk / "x.bin", b"x")


# --- manifests -----------------------------------------------------------------------------------------------


def test_a_manifest_comes_back_as_it_was_written(store: Store) -> None:
    written = commit(store, identity={"code": "1", "inputs": {"a": {"": "v"}}, "sources": ("b", "ü")})
    read = store.manifest("study", "asset", "task")
    assert read is not None
    assert read.identity_hash == written.identity_hash
    assert (read.data_version, read.files, read.created) == (
        written.data_version,
        written.files,
        written.created,
    )
    assert store.holds(read)


def test_the_identity_decides_and_what_is_recorded_does_not(store: Store) -> None:
    first = commit(store, identity={"code": "1", "settings": {"c": 1.0}})
    second = commit(store, identity={"settings": {"c": 1.0}, "code": "1"})
    assert first.identity_hash == second.identity_hash
    assert commit(store, identity={"code": "2", "settings": {"c": 1.0}}).identity_hash != first.identity_hash


def test_there_is_no_manifest_before_the_first_commit(store: Store) -> None:
    assert store.manifest("study", "asset", "task") is None


def _edit(text: str, **changes: object) -> bytes:
    return json.dumps({**json.loads(text), **changes}).encode()


DAMAGE = {
    "empty": lambda text: b"",
    "cut short": lambda text: text[: len(text) // 2].encode(),
    "a list": lambda text: b"[]",
    "a number": lambda text: b"3",
    "not text": lambda text: b"\xff\xfe\x00",
    "nested without end": lambda text: b"[" * 100_000,
    "older format": lambda text: _edit(text, format=0),
    "newer format": lambda text: _edit(text, format=99),
    "another key": lambda text: _edit(text, surprise=1),
    "a key is gone": lambda text: json.dumps(
        {k: v for k, v in json.loads(text).items() if k != "files"}
    ).encode(),
    "edited identity": lambda text: _edit(text, identity={"code": "2"}),
    "edited version": lambda text: _edit(text, data_version="0" * 32),
    "edited files": lambda text: _edit(text, files={}),
    "files of another type": lambda text: _edit(text, files="none"),
    "an older version's, without a hash of itself": lambda text: json.dumps(
        {k: v for k, v in json.loads(text).items() if k != "content_hash"}
    ).encode(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_manifest_that_cannot_be_trusted_counts_as_none(store: Store, damage) -> None:
    commit(store)
    path = store.manifest_path("study", "asset", "task")
    path.write_bytes(damage(path.read_text()))
    assert store.manifest("study", "asset", "task") is None


def test_every_byte_of_a_manifest_counts(store: Store) -> None:
    """Whatever one byte is changed to, the manifest is refused or says the same as before."""
    whole = commit(store)
    path = store.manifest_path("study", "asset", "task")
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        changed = bytearray(content)
        changed[place] = ord("7") if changed[place] != ord("7") else ord("8")
        path.write_bytes(bytes(changed))
        found = store.manifest("study", "asset", "task")
        assert found is None or (found.identity, found.files) == (whole.identity, whole.files)


def test_a_manifest_in_another_place_is_not_believed(store: Store) -> None:
    commit(store, partition="one")
    here, there = (store.manifest_path("study", "asset", p) for p in ("one", "two"))
    there.write_bytes(here.read_bytes())
    assert store.manifest("study", "asset", "two") is None


# --- what a manifest holds -----------------------------------------------------------------------------------


def test_holds_notices_what_happened_to_a_file(store: Store) -> None:
    manifest = commit(store, "content")
    path = store.path("study", "asset", "task", ".txt")
    os.utime(path, ns=(1, 1))
    assert store.holds(manifest), "the same bytes at another time, as in a copied home folder"
    path.write_text("CONTENT")
    assert not store.holds(manifest), "as long, but others"
    path.write_text("cont")
    assert not store.holds(manifest), "cut short"
    path.unlink()
    assert not store.holds(manifest), "gone"


def test_verified_compares_the_bytes(store: Store) -> None:
    commit(store, "content")
    path = store.path("study", "asset", "task", ".txt")
    assert store.verified(path, "study", "asset", "task") == path
    before = path.stat()
    path.write_text("CONTENT")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(StoreError, match="does not match its manifest"):
        store.verified(path, "study", "asset", "task")
    path.unlink()
    with pytest.raises(StoreError, match="is missing or was never finished"):
        store.verified(path, "study", "asset", "task")


def test_the_data_version_follows_the_content(store: Store) -> None:
    assert (
        commit(store, "a").data_version == commit(store, "a").data_version != commit(store, "b").data_version
    )


def test_tables_are_read_in_the_order_asked_for_and_say_what_is_missing(store: Store) -> None:
    for task, n in (("a", 1), ("b", 2)):
        store.write_table("study", "counts", task, pl.DataFrame({"n": [n]}))
    assert store.read_table("study", "counts", ["b", "a"])["n"].to_list() == [2, 1]
    with pytest.raises(StoreError, match=r"counts: a piece is missing \(c\.parquet\); run"):
        store.read_table("study", "counts", ["a", "c"])
    store.table_path("study", "counts", "b").write_bytes(b"PAR1 no more")
    with pytest.raises(StoreError, match="counts: a piece cannot be read"):
        store.read_table("study", "counts", ["a", "b"])


def test_sweep_takes_what_dead_processes_left_and_nothing_else(store: Store) -> None:
    commit(store)
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    folder = store.folder("study", "asset")
    dead = [
        folder / f".x.npy.{child.pid}.abcd.tmp",
        folder / ".y.99999999999999999999.abcd.tmp",
        folder / ".z.tmp",
    ]
    mine = folder / f".x.npy.{os.getpid()}.abcd.tmp"
    for path in (*dead, mine):
        path.write_text("half")
    assert store.sweep("study") == len(dead)
    left = {path.name for path in folder.iterdir()}
    assert left == {mine.name, "task.txt", "task.manifest.json"}


def test_a_killed_process_does_not_count_as_alive_before_it_is_waited_for(store: Store) -> None:
    commit(store)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    left = store.folder("study", "asset") / f".x.{child.pid}.abcd.tmp"
    left.write_text("half")
    assert store.sweep("study") == 0
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the table of processes
    assert store.sweep("study") == 1
    child.wait()


def test_the_lock_of_a_killed_process_is_free(store: Store) -> None:
    script = (
        "import sys, time; from pathlib import Path; from resources.store import Store\n"
        "lock = Store(Path(sys.argv[1])).lock('study', 'asset', 'task'); lock.acquire()\n"
        "print('held', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(store.root)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    lock = store.lock("study", "asset", "task")
    with pytest.raises(TimeoutError):
        lock.acquire(timeout=0.1)
    child.kill()
    child.wait()
    with lock.acquire(timeout=5):
        pass


def test_hashes_are_those_of_others(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert file_hash(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert content_hash({"b": 1, "a": [1, 2]}) == content_hash({"a": (1, 2), "b": 1})
