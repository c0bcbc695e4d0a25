"""Static files: hashed names, compressed beside, earlier releases kept, nothing rewritten that somebody reads."""

import errno
import gzip
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.test.utils import override_settings

from hello_django import storage
from repository import ROOT

CSS = "body { background: url(dot.svg); }\n" * 20
SVG = '<svg xmlns="http://www.w3.org/2000/svg"/>\n' * 20

Collect = Callable[[str], dict[str, str]]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "css").mkdir(parents=True)
    (folder / "css/site.css").write_text(CSS)
    (folder / "css/dot.svg").write_text(SVG)
    (folder / "photo.png").write_bytes(b"\x89PNG" + bytes(100))
    return folder


@pytest.fixture
def root(tmp_path: Path, source: Path) -> Iterator[Path]:
    """The volume that nginx serves."""
    folder = tmp_path / "static"
    with override_settings(
        STATIC_ROOT=folder,
        STATICFILES_DIRS=[source],
        STATICFILES_FINDERS=["django.contrib.staticfiles.finders.FileSystemFinder"],
        STORAGES={"staticfiles": {"BACKEND": "hello_django.storage.CompressedManifestStorage"}},
    ):
        yield folder


@pytest.fixture
def collect(root: Path, monkeypatch: pytest.MonkeyPatch) -> Collect:
    """Run collectstatic as a release, a little later than the one before; return its hashed names."""
    clock = iter(range(1_700_000_000, 1_800_000_000, 60))

    def run(release: str) -> dict[str, str]:
        monkeypatch.setattr(storage, "release", lambda: release)
        with override_settings(STATIC_ROOT=root):  # A fresh storage, as in a new process.
            call_command("collectstatic", interactive=False, verbosity=0)
            manifest = root / staticfiles_storage.manifest_name
        assert release in manifest.name
        now = next(clock)
        os.utime(manifest, (now, now))
        return json.loads(manifest.read_text())["paths"]

    return run


def names(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_hashed_names_with_a_compressed_file_beside(root: Path, collect: Collect) -> None:
    paths = collect("one")
    for name in ("css/site.css", "css/dot.svg"):
        assert re.fullmatch(name.replace(".", r"\.[0-9a-f]{12}\."), paths[name])
        packed = (root / f"{paths[name]}.gz").read_bytes()
        assert gzip.decompress(packed) == (root / paths[name]).read_bytes()
    # The reference inside has the hashed name as well, or it would not be served as immutable.
    assert paths["css/dot.svg"].removeprefix("css/") in (root / paths["css/site.css"]).read_text()
    assert not (root / f"{paths['photo.png']}.gz").exists(), "what is packed already is not packed again"


def test_every_file_can_be_read_by_nginx(root: Path, collect: Collect) -> None:
    before = os.umask(0o077)
    try:
        collect("one")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in root.rglob("*") if path.is_file()} == {0o644}


def test_a_page_of_before_the_deploy_still_loads(root: Path, source: Path, collect: Collect) -> None:
    old = collect("one")["css/site.css"]
    content = (root / old).read_bytes()
    (source / "css/site.css").write_text("body { color: red; }")
    new = collect("two")["css/site.css"]
    assert new != old
    assert (root / old).read_bytes() == content
    assert (root / f"{old}.gz").exists()
    # Both containers find their own names while the old one still runs.
    assert json.loads((root / "staticfiles-one.json").read_text())["paths"]["css/site.css"] == old


def test_what_is_there_is_not_rewritten(root: Path, source: Path, collect: Collect) -> None:
    paths = collect("one")
    kept = {name: (root / name).stat() for name in [*paths.values(), f"{paths['css/site.css']}.gz"]}
    for path in source.rglob("*"):
        path.touch()
    collect("two")
    for name, before in kept.items():
        after = (root / name).stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns), name


def test_old_releases_are_forgotten(root: Path, source: Path, collect: Collect) -> None:
    made = {}
    for number in range(1, storage.KEPT_RELEASES + 3):
        (source / "css/site.css").write_text(f"body {{ margin: {number}px; }}")
        made[number] = collect(f"release{number}")["css/site.css"]
    there = names(root)
    kept = range(3, storage.KEPT_RELEASES + 3)
    for number, name in made.items():
        assert (name in there) is (number in kept)
        assert (f"{name}.gz" in there) is (number in kept)
        assert (f"staticfiles-release{number}.json" in there) is (number in kept)
    # What all releases share stays.
    assert any(name.startswith("css/dot.") and name.endswith(".svg") and name != "css/dot.svg" for name in there)


def test_going_back_to_an_older_release_renews_it(root: Path, source: Path, collect: Collect) -> None:
    made = {}
    for number in (1, 2, 3, 1, 4, 5):
        (source / "css/site.css").write_text(f"body {{ margin: {number}px; }}")
        made[number] = collect(f"release{number}")["css/site.css"]
    assert {number for number, name in made.items() if name in names(root)} == {1, 4, 5}


def test_collecting_twice_changes_nothing(root: Path, collect: Collect) -> None:
    collect("one")
    before = names(root)
    collect("one")
    assert names(root) == before
    assert not [name for name in before if Path(name).name.startswith(".")], "no partial file is left"


def test_names_that_a_bundler_has_hashed_are_kept(root: Path, source: Path, collect: Collect) -> None:
    """Bundles refer to each other by the bundler's names, which Django does not see."""
    bundled = "app.0123456789ab.js"
    (source / bundled).write_text("import './chunk.js'")
    collect("one")
    (source / bundled).touch()
    collect("two")
    assert bundled in names(root)
    assert len([name for name in names(root) if name.startswith("app") and name.endswith(".js")]) == 2


def test_a_broken_reference_stops_the_deploy_and_leaves_the_site(root: Path, source: Path, collect: Collect) -> None:
    before = collect("one")
    (source / "css/site.css").write_text("body { background: url(missing.svg); }")
    with pytest.raises(Exception, match=r"missing\.svg"):
        collect("two")
    assert set(before.values()) <= names(root)
    assert not (root / "staticfiles-two.json").exists()


def test_templates_get_the_hashed_address(root: Path, collect: Collect) -> None:
    paths = collect("one")
    assert staticfiles_storage.url("css/site.css") == f"/static/{paths['css/site.css']}"


def test_release_is_what_the_image_was_built_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert storage.RELEASE == ROOT / "app/RELEASE"
    monkeypatch.setattr(storage, "RELEASE", tmp_path / "RELEASE")
    assert storage.release() == "dev"
    (tmp_path / "RELEASE").write_text("0123456789ab\n")
    assert storage.release() == "0123456789ab"


class TestUploads:
    @pytest.fixture
    def uploads(self, tmp_path: Path) -> storage.UploadStorage:
        for name in ("a.png", "thumbs/a.png.webp", "years/2026/b.png"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(name)
        return storage.UploadStorage(location=tmp_path)

    @pytest.mark.parametrize("name", ["a.png", "thumbs/a.png.webp", "years/2026/b.png"])
    def test_a_backup_under_way_keeps_what_is_deleted(
        self, uploads: storage.UploadStorage, tmp_path: Path, name: str
    ) -> None:
        (tmp_path / ".backup").mkdir()
        uploads.delete(name)
        assert not (tmp_path / name).exists()
        assert (tmp_path / ".backup" / name).read_text() == name

    def test_without_a_backup_nothing_is_kept(self, uploads: storage.UploadStorage, tmp_path: Path) -> None:
        uploads.delete("thumbs/a.png.webp")
        assert [path.name for path in tmp_path.rglob("*.*") if path.is_file()] == ["a.png", "b.png"]
        assert not (tmp_path / ".backup").exists()

    def test_an_empty_folder(self, uploads: storage.UploadStorage, tmp_path: Path) -> None:
        (tmp_path / ".backup").mkdir()
        (tmp_path / "albums/old").mkdir(parents=True)
        uploads.delete("albums/old")
        assert not (tmp_path / "albums/old").exists()

    def test_what_the_backup_has_already(self, uploads: storage.UploadStorage, tmp_path: Path) -> None:
        (tmp_path / ".backup").mkdir()
        (tmp_path / ".backup/a.png").write_text("the backup's")
        uploads.delete("a.png")
        assert not (tmp_path / "a.png").exists()
        assert (tmp_path / ".backup/a.png").read_text() == "the backup's"

    def test_a_file_that_is_gone(self, uploads: storage.UploadStorage, tmp_path: Path) -> None:
        (tmp_path / ".backup").mkdir()
        uploads.delete("thumbs/none.webp")
        assert list((tmp_path / ".backup").rglob("*.webp")) == []

    def test_file_and_folder_are_on_the_disk_when_it_is_saved(
        self, uploads: storage.UploadStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        synced = []
        monkeypatch.setattr(os, "fsync", lambda number: synced.append(Path(f"/proc/self/fd/{number}").readlink()))
        name = uploads.save("new/c.png", ContentFile(b"picture"))
        # A folder that is new is an entry in the one above.
        assert synced == [tmp_path / name, tmp_path / "new", tmp_path]

    def test_the_whole_path_is_a_name_too(self, uploads: storage.UploadStorage, tmp_path: Path) -> None:
        uploads.delete(str(tmp_path / "years/2026/b.png"))
        (tmp_path / ".backup").mkdir()
        uploads.delete(str(tmp_path / "thumbs/a.png.webp"))
        assert [path.name for path in tmp_path.rglob("*.*") if path.is_file()] == ["a.png", "a.png.webp"]
        assert (tmp_path / ".backup/thumbs/a.png.webp").exists()

    def test_nothing_is_made_for_a_name_outside(self, uploads: storage.UploadStorage, tmp_path: Path) -> None:
        (tmp_path / ".backup").mkdir()
        with pytest.raises(SuspiciousFileOperation):
            uploads.delete("../outside/new/file")
        assert not (tmp_path.parent / "outside").exists()

    @pytest.mark.parametrize("name", ["a.png", "thumbs/a.png.webp"])
    def test_no_name_twice_in_a_backup(self, uploads: storage.UploadStorage, tmp_path: Path, name: str) -> None:
        (tmp_path / ".backup").mkdir()
        uploads.delete(name)
        given = uploads.save(name, ContentFile(b"another"))
        assert given != name
        assert given.endswith(Path(name).suffix)
        assert (tmp_path / ".backup" / name).read_text() == name

    @pytest.mark.parametrize(
        ("number", "kind", "fails"),
        [(errno.EINVAL, "folder", False), (errno.EINVAL, "file", True), (errno.EIO, "folder", True)],
    )
    def test_a_disk_that_fails_is_no_success(
        self, uploads: storage.UploadStorage, monkeypatch: pytest.MonkeyPatch, number: int, kind: str, fails: bool
    ) -> None:
        def fsync(descriptor: int) -> None:
            if Path(f"/proc/self/fd/{descriptor}").is_dir() == (kind == "folder"):
                raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", fsync)
        with pytest.raises(OSError, match=os.strerror(number)) if fails else nullcontext():
            uploads.save("c.png", ContentFile(b"picture"))
