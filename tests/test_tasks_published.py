"""Published files become tables of the layout: fetched once, hashed, refused when they change; no network here."""

import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from openankh.errors import UserError
from openankh.tasks.loading import load_task
from openankh.tasks.named_tasks import all_tasks, find_task
from openankh.tasks.published_files import PublishedFiles, data_source, download, published_tables
from openankh.tasks.published_forms import FORMS

GB1 = "sequence,target,set,validation\n" + "".join(
    f"{'MQYKLI' * 4 + letter},{n},{'test' if n > 6 else 'train'},{n == 5}\n" for n, letter in enumerate("ACDEFGHIK")
)
PLACES = "".join(f">P{n} Plastid-M extra\nMKTAYIAK{'ACDE'[n % 4] * 5}\n" for n in range(4))


def archive(members: dict[str, str]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for name, text in members.items():
            packed.writestr(name, text)
    return file.getvalue()


def fetch_of(content: bytes, fetched: list[str] | None = None) -> Callable[[str], bytes]:
    def fetch(url: str) -> bytes:
        (fetched if fetched is not None else []).append(url)
        return content

    return fetch


def test_every_published_table_is_a_file_of_some_task_and_pinned_to_a_commit() -> None:
    files = {file for task in all_tasks() for file in task.files}
    for file, table in published_tables().items():
        assert file in files and table.form in FORMS
        assert all(len(part) == 40 for url in table.urls for part in [url.split("/")[5]])


def test_a_task_reads_what_was_fetched_once(tmp_path: Path) -> None:
    fetched: list[str] = []
    content = archive({"__MACOSX/splits/._sampled.csv": "x", "splits/sampled.csv": GB1})
    source = PublishedFiles(tmp_path, fetch=fetch_of(content, fetched))
    data = load_task(find_task("gb1-sampled"), source)
    assert {name: len(part) for name, part in data.splits.items()} == {"train": 6, "valid": 1, "test": 2}
    again = load_task(find_task("gb1-sampled"), PublishedFiles(tmp_path, offline=True))
    assert again.fingerprint == data.fingerprint and len(fetched) == 1


def test_what_changes_behind_its_address_is_refused(tmp_path: Path) -> None:
    first = PublishedFiles(tmp_path, fetch=fetch_of(archive({"sampled.csv": GB1})))
    first.path("gb1/sampled.csv.gz").unlink()
    second = PublishedFiles(tmp_path, fetch=fetch_of(archive({"sampled.csv": GB1 + "AAA,1,train,False\n"})))
    with pytest.raises(UserError, match="is not what it was when gb1/sampled"):
        second.path("gb1/sampled.csv.gz")


def test_residue_labels_carry_their_masks_and_splits(tmp_path: Path) -> None:
    content = archive(
        {
            "sequences.fasta": ">a\nMKTAY\n>b\nMKTAYI\n>c\nMKT\n",
            "sampled.fasta": ">a SET=train VALIDATION=False\nHHECC\n>b SET=train VALIDATION=True\nHHECCC\n"
            ">c SET=test VALIDATION=False\nHHE\n",
            "mask.fasta": ">a\n01111\n>b\n111110\n",
        }
    )
    source = PublishedFiles(tmp_path, fetch=fetch_of(content))
    data = load_task(find_task("secondary-structure-q3"), source)
    assert data.train.targets[0].tolist() == [-1, 1, 2, 0, 0]
    assert data.splits["valid"].targets[0].tolist() == [1, 1, 2, 0, 0, -1]
    assert data.splits["test_new364"].ids == ("c",)
    assert data.notes == ("no test_cb513: secondary_structure/test_cb513.csv.gz is not there",)


def test_places_are_read_from_headers(tmp_path: Path) -> None:
    path = PublishedFiles(tmp_path, fetch=fetch_of(PLACES.encode())).path("localisation/deeploc1.csv.gz")
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    assert lines[:2] == ["id,sequence,location,split", "P0,MKTAYIAKAAAAA,Plastid,train"]
    assert [line.rpartition(",")[2] for line in lines[1:]] == ["train"] * 4 + ["valid"] * 4 + ["test"] * 4


@pytest.mark.parametrize(
    "content", [b"<html>", archive({"other.csv": "a,b\n"}), archive({"sampled.csv": "a,b\n1,2\n"})]
)
def test_a_file_that_is_something_else_is_one_line(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"so no gb1/sampled\.csv\.gz can be made"):
        PublishedFiles(tmp_path, fetch=fetch_of(content)).path("gb1/sampled.csv.gz")
    assert not (tmp_path / "gb1" / "sampled.csv.gz").exists()


def test_what_is_not_published_says_where_to_read_on(tmp_path: Path) -> None:
    source = PublishedFiles(tmp_path, fetch=fetch_of(b""))
    with pytest.raises(UserError, match=r"scope203_40\.csv\.gz: is not published in this form; docs/data.md"):
        load_task(find_task("fold"), source)


def test_offline_fetches_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--offline forbids it"):
        PublishedFiles(tmp_path, offline=True, fetch=fetch_of(b"")).path("gb1/sampled.csv.gz")


def test_an_unreachable_network_is_one_line() -> None:
    with pytest.raises(UserError, match="cannot be fetched") as caught:
        download("http://127.0.0.1:9/none")
    assert "\n" not in str(caught.value)


def test_a_folder_is_asked_before_anything_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(UserError, match="forbids it"):
        data_source(None, offline=True).path("gb1/sampled.csv.gz")
    (tmp_path / "gb1").mkdir()
    (tmp_path / "gb1" / "sampled.csv").write_text(GB1)
    assert data_source(tmp_path).path("gb1/sampled.csv.gz") == tmp_path / "gb1" / "sampled.csv"
