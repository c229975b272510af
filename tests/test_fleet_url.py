"""A store behind a URL: shards under their own names, receipts, the manifest last, and whoever begins takes it over."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from embedding_samples import provenance
from fleet_jobs import LIMITS, StandInJob, write_proteins
from openankh.embedding.survey import survey
from openankh.errors import UserError
from openankh.fasta import FastaReader
from openankh.fleet.device_workers import DeviceWorkers
from openankh.fleet.parts import Part, cut_parts
from openankh.fleet.run import FleetRun
from openankh.fleet.url_assembly import assembling_url
from openankh.fleet.url_folder import UrlFolder, is_url
from openankh.store import EmbeddingStore
from openankh.store.manifest import MANIFEST_NAME
from test_fleet import assert_holds, land

POOLED = provenance("mean")


@pytest.fixture
def parts(tmp_path: Path) -> list[Part]:
    return list(cut_parts(write_proteins(tmp_path / "in.fasta"), POOLED, LIMITS))


@pytest.fixture(params=["memory", "file"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[UrlFolder]:
    """An empty place in memory, which has no folders, or on disk."""
    if request.param == "file":
        yield UrlFolder((tmp_path / "deep" / "store").as_uri())
        return
    import fsspec

    place = f"memory://{tmp_path.name}/store"
    yield UrlFolder(place)
    fsspec.filesystem("memory").store.clear()


def fetched(folder: UrlFolder, to: Path) -> EmbeddingStore:
    """The store, copied to this machine."""
    to.mkdir()
    for name in folder.sizes():
        (to / name).write_bytes(folder.read(name) or b"")
    return EmbeddingStore.open(to)


def break_off(folder: UrlFolder, parts: list[Part]) -> None:
    """Begin a store, take up these parts, and stop."""
    with pytest.raises(KeyboardInterrupt), assembling_url(folder, POOLED, LIMITS) as assembly:
        for part in parts:
            assembly.take(land(assembly, part))
        raise KeyboardInterrupt


def test_shards_in_any_order_make_a_store_that_is_nothing_until_the_last(
    folder: UrlFolder, parts: list[Part], tmp_path: Path
) -> None:
    with assembling_url(folder, POOLED, LIMITS) as assembly:
        for part in [*parts[5:], *parts[:5], parts[2]]:
            assembly.take(land(assembly, part))
            assert MANIFEST_NAME not in folder.sizes()
        assert assembly.num_records == sum(len(part.records) for part in parts)
        assembly.finish(POOLED)
    store = fetched(folder, tmp_path / "copy")
    assert_holds(store, parts)
    names = {path.name for path in (tmp_path / "copy").iterdir()}
    assert names == {MANIFEST_NAME, *(f"shard-{part.number:06d}.safetensors" for part in parts)}
    assert store.provenance == POOLED


def test_a_broken_off_store_keeps_every_shard_taken_up(folder: UrlFolder, parts: list[Part], tmp_path: Path) -> None:
    break_off(folder, [parts[0], parts[3], parts[4]])
    folder.write("shard-000004.safetensors", "torn")
    with assembling_url(folder, POOLED, LIMITS) as assembly:
        assert sorted(assembly.kept) == [0, 3]
        for part in parts:
            if part.number not in assembly.kept:
                assembly.take(land(assembly, part))
        assembly.finish(POOLED)
    assert_holds(fetched(folder, tmp_path / "copy"), parts)


def test_a_run_that_begins_takes_over_from_an_older_one(folder: UrlFolder, parts: list[Part]) -> None:
    with assembling_url(folder, POOLED, LIMITS) as older:
        older.take(land(older, parts[0]))
        with assembling_url(folder, POOLED, LIMITS) as newer:
            with pytest.raises(UserError, match="another run has taken it over"):
                land(older, parts[1])
            newer.take(land(newer, parts[1]))
            assert sorted(newer.kept) == [0]


def test_a_part_is_tried_so_often_as_workers_began_with_it_in_this_run(folder: UrlFolder, parts: list[Part]) -> None:
    for _ in range(2):
        with assembling_url(folder, POOLED, LIMITS) as assembly:
            assert [assembly.landing.attempt(number) for number in (1, 1, 0, 1)] == [0, 1, 0, 2]


def test_a_gap_in_the_shards_is_never_finished_over(folder: UrlFolder, parts: list[Part]) -> None:
    with assembling_url(folder, POOLED, LIMITS) as assembly:
        for part in (parts[0], parts[2]):
            assembly.take(land(assembly, part))
        with pytest.raises(UserError, match="do not follow one another at shard-000001"):
            assembly.finish(POOLED)
    assert MANIFEST_NAME not in folder.sizes()


def test_a_shard_cut_short_is_never_finished_over(folder: UrlFolder, parts: list[Part]) -> None:
    with assembling_url(folder, POOLED, LIMITS) as assembly:
        assembly.take(land(assembly, parts[0]))
        folder.write("shard-000000.safetensors", "torn")
        with pytest.raises(UserError, match=r"shard-000000\.safetensors: missing or cut short"):
            assembly.finish(POOLED)


def test_workers_of_this_machine_write_there_too(parts: list[Part], tmp_path: Path) -> None:
    folder, reader = UrlFolder((tmp_path / "url").as_uri()), FastaReader(tmp_path / "in.fasta")
    with DeviceWorkers(StandInJob(), ["cpu", "cpu"]) as workers:
        summary = FleetRun(reader, folder, survey(reader)).embed(workers)
    assert_holds(fetched(folder, tmp_path / "copy"), parts)
    assert summary.counts.records == sum(len(part.records) for part in parts)


def test_what_stands_there_is_kept_unless_it_may_be_replaced(folder: UrlFolder, parts: list[Part]) -> None:
    with assembling_url(folder, POOLED, LIMITS) as assembly:
        assembly.take(land(assembly, parts[0]))
        assembly.finish(POOLED)
    before = folder.sizes()
    with pytest.raises(UserError, match="exists already"), assembling_url(folder, POOLED, LIMITS):
        pass
    assert folder.sizes() == before
    with assembling_url(folder, POOLED, LIMITS, overwrite=True) as assembly:
        assert not assembly.kept and MANIFEST_NAME not in folder.sizes()


def test_an_unfinished_store_of_another_provenance_is_refused(folder: UrlFolder, parts: list[Part]) -> None:
    break_off(folder, parts[:2])
    other = replace(POOLED, layers=(3,))
    differs = pytest.raises(UserError, match=r"begun with layers \(4,\), this run has \(3,\)")
    with differs, assembling_url(folder, other, LIMITS):
        pass
    with assembling_url(folder, other, LIMITS, overwrite=True) as assembly:
        assert not assembly.kept


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_place_with_other_files_is_left_alone(folder: UrlFolder, overwrite: bool) -> None:
    folder.make()
    folder.write("thesis.tex", "x")
    with (
        pytest.raises(UserError, match=r"holds thesis\.tex"),
        assembling_url(folder, POOLED, LIMITS, overwrite=overwrite),
    ):
        pass
    assert list(folder.sizes()) == ["thesis.tex"]


@pytest.mark.parametrize("url", ["nowhere://bucket/store", "s3://bucket/store"])
def test_a_place_that_cannot_be_reached_is_one_line(url: str) -> None:
    if url.startswith("s3"):
        pytest.importorskip("fsspec")
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(__import__("sys").modules, "s3fs", None)
            with pytest.raises(UserError, match=r"s3://bucket/store: .*s3fs") as caught:
                UrlFolder(url).sizes()
    else:
        with pytest.raises(UserError, match="nowhere://bucket/store: Protocol not known") as caught:
            UrlFolder(url).sizes()
    assert "\n" not in str(caught.value)


def test_urls_are_told_from_paths() -> None:
    assert is_url("s3://bucket/store") and not is_url("folder/store") and not is_url("C:/store")
