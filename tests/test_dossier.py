"""A dossier says what the doors it is made by say, alone as in company; its JSON, tables and pictures are one value."""

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dossier_samples
from openankh.dossier import tables
from openankh.dossier.dossier import Dossier, Overview
from openankh.dossier.embedding_map import principal_map
from openankh.dossier.json_text import from_json, to_json
from openankh.dossier.making import DossierMaker
from openankh.dossier.options import DossierOptions
from openankh.dossier.overview import overview
from openankh.dossier.pictures import colouring, contacts_svg, map_svg, variants_svg
from openankh.dossier.raster import png
from openankh.dossier.saying import probable_pairs
from openankh.dossier.sources import Sources
from openankh.errors import UserError
from openankh.fasta import FastaReader


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    return dossier_samples.sources(tmp_path_factory.mktemp("dossier"))


@pytest.fixture(scope="module")
def dossiers(sources: Sources) -> list[Dossier]:
    return list(DossierMaker(sources, dossier_samples.records(), DossierOptions()).make())


@pytest.fixture(scope="module")
def found(dossiers: list[Dossier], sources: Sources) -> Overview:
    return overview(dossiers, sources, "masked-marginal")


def test_there_is_a_dossier_of_every_protein_in_order_with_every_part(dossiers: list[Dossier]) -> None:
    assert [(d.number, d.id, d.sequence) for d in dossiers] == [
        (n, record.id, record.sequence) for n, record in enumerate(dossier_samples.records(), start=1)
    ]
    for dossier in dossiers:
        assert len(dossier.tracks[0].letters) == len(dossier.tracks[0].confidence) == dossier.length
        assert [each.title for each in dossier.properties] == ["Localisation", "Melting point"]
        assert dossier.contacts and dossier.variants and dossier.second_half
        assert len(dossier.neighbours) == 6
        assert len(dossier.embedding) == 24 and not dossier.notes


def test_a_dossier_says_what_its_doors_say(dossiers: list[Dossier], sources: Sources) -> None:
    record, dossier = dossier_samples.records()[0], dossiers[0]
    (pair,) = sources.loaded.embed([record])
    assert dossier.embedding == tuple(pair[1].astype(float).tolist())
    scan = sources.loaded.scan(record.sequence)
    assert dossier.variants and np.array_equal(np.array(dossier.variants.scores), scan.raw_L20)
    assert np.array_equal(np.array(dossier.variants.calibrated), scan.calibrated_L20)
    (completion,) = sources.loaded.complete([record], keep=0.5)
    assert dossier.second_half and dossier.second_half.written == completion.written
    assert dossier.second_half.truth == record.sequence[completion.kept :]
    assert sources.annotated is not None
    (answer,) = sources.annotated.lookup.search([record], 8, exclude_self=True)
    assert [each.id for each in dossier.neighbours] == [each.id for each in answer.neighbours]
    structure, place = list(sources.predictors)[:2]
    (of_residues,), (of_protein,) = structure.predict([record]), place.predict([record])
    assert tuple(dossier.tracks[0].letters) == of_residues.values
    assert (dossier.properties[0].value,) == of_protein.values


def test_a_dossier_made_alone_or_from_the_middle_on_is_the_same(dossiers: list[Dossier], sources: Sources) -> None:
    maker = DossierMaker(sources, dossier_samples.records(), DossierOptions())
    assert [to_json(each) for each in maker.make(first=1)] == [to_json(each) for each in dossiers[1:]]


def test_progress_rises_to_the_end_and_what_it_raises_ends_the_work(sources: Sources) -> None:
    shares: list[float] = []
    list(DossierMaker(sources, dossier_samples.records(), DossierOptions(), lambda s, _: shares.append(s)).make())
    assert shares == sorted(shares)
    assert shares[0] == 0 and shares[-1] == pytest.approx(1)

    def stop(share: float, what: str) -> None:
        if share > 0.3:
            raise KeyError(what)

    with pytest.raises(KeyError):
        list(DossierMaker(sources, dossier_samples.records(), DossierOptions(), stop).make())


def test_json_gives_the_dossier_back(dossiers: list[Dossier], found: Overview) -> None:
    for value in (*dossiers, found):
        text = to_json(value)
        assert to_json(from_json(type(value), text)) == text


def test_json_of_another_version_or_damaged_is_refused_in_one_line(dossiers: list[Dossier]) -> None:
    text = to_json(dossiers[0])
    for wrong in (text.replace(b'"version":1', b'"version":0'), text[:50], b"[]", b'{"version":1}'):
        with pytest.raises(UserError) as caught:
            from_json(Dossier, wrong)
        assert "\n" not in str(caught.value)


def test_json_holds_no_nan_and_any_id(dossiers: list[Dossier]) -> None:
    odd = replace(dossiers[0], id='</script>"\udcff\x00', embedding=(float("nan"), float("inf"), 1 / 3))
    read = json.loads(to_json(odd))
    assert read["embedding"] == [None, None, 0.333333]
    assert read["id"] == odd.id


def test_variants_none_are_left_out_and_auto_reads_long_lists_once(sources: Sources) -> None:
    (dossier,) = DossierMaker(sources, dossier_samples.records()[:1], DossierOptions("none")).make()
    assert dossier.variants is None
    assert DossierOptions().method_for(sources.loaded, [100]) == "masked-marginal"
    assert DossierOptions().method_for(sources.loaded, [5000] * 1000) == "wild-type-marginal"
    with pytest.raises(UserError, match="not one of auto"):
        DossierOptions("magic")  # type: ignore[arg-type]  # pyright: ignore


def test_fields_tell_predictions_neighbours_labels_and_headers(found: Overview) -> None:
    assert found.fields == ("nearest family", "Localisation", "Melting point", "colour", "length")
    assert found.lines[0].fields["colour"] == "c1" and found.lines[0].fields["length"] == 32.0


def test_the_map_keeps_distances_of_points_on_a_plane() -> None:
    generator = np.random.default_rng(0)
    plane_N2, axes_2D = generator.normal(size=(9, 2)), np.linalg.qr(generator.normal(size=(5, 2)))[0].T
    made = principal_map(plane_N2 @ axes_2D)

    def distances(points_N2: np.ndarray) -> np.ndarray:
        return np.linalg.norm(points_N2[:, None] - points_N2, axis=2)

    assert np.allclose(distances(made.places_N2), distances(plane_N2))
    assert sum(made.explained) == pytest.approx(1)


@pytest.mark.parametrize("num", [1, 2])
def test_few_proteins_have_a_map_too(num: int) -> None:
    made = principal_map(np.arange(3.0 * num).reshape(num, 3))
    assert np.isfinite(made.places_N2).all() and made.places_N2.shape == (num, 2)


def test_pairs_are_the_most_probable_ones_far_enough_apart() -> None:
    shares_LL = np.zeros((20, 20))
    shares_LL[0, 9] = shares_LL[9, 0] = 0.9
    shares_LL[2, 12], shares_LL[3, 5], shares_LL[4, 19] = 0.5, 0.99, 0.01
    assert probable_pairs(shares_LL) == ((1, 10, 0.9), (3, 13, 0.5))


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_tables_hold_what_dossiers_hold(dossiers: list[Dossier], found: Overview) -> None:
    first = dossiers[0]
    variants = rows_of(tables.variants_csv(first))
    assert len(variants) == 19 * first.length and variants[0]["mutant"] == "M1A"
    assert [row["residue"] for row in rows_of(tables.residues_csv(first))] == list(first.sequence)
    assert len(rows_of(tables.neighbours_csv(dossiers))) == 18
    assert {row["task"] for row in rows_of(tables.properties_csv(dossiers))} == {"localisation", "melting"}
    assert len(rows_of(tables.contacts_csv(first))) == len(first.contacts.pairs if first.contacts else ())
    assert [row["id"] for row in rows_of(tables.overview_csv(found))] == ["P1", "P2", "P3"]
    written = tables.sequences_fasta(dossiers).encode()
    assert [r.sequence for r in FastaReader(io.BytesIO(written))] == [d.sequence for d in dossiers]
    halves = list(FastaReader(io.BytesIO(tables.completions_fasta(dossiers).encode())))
    assert [len(each.sequence) for each in halves] == [d.length for d in dossiers]


def test_ids_that_a_spreadsheet_would_run_are_quoted(dossiers: list[Dossier]) -> None:
    evil = replace(dossiers[0], id="=cmd|calc")
    assert rows_of(tables.neighbours_csv([evil]))[0]["query"] == "'=cmd|calc"


def test_pictures_are_xml_without_style_and_script_and_escape_ids(dossiers: list[Dossier], found: Overview) -> None:
    evil = replace(dossiers[0], id="<script>alert(1)</script>\x01")
    line = replace(found.lines[0], id="<script>&\x01")
    pictures = [
        variants_svg(evil),
        contacts_svg(evil),
        map_svg(replace(found, lines=(line, *found.lines[1:])), "colour"),
    ]
    for picture in pictures:
        ET.fromstring(picture)
        assert not re.search(r"<script|style=|<style|onload|http(?!://www\.w3\.org)", picture)


def test_groups_beyond_ten_share_a_colour_and_numbers_are_put_into_fifths(found: Overview) -> None:
    line = found.lines[0]
    many = replace(found, lines=tuple(replace(line, fields={"f": f"group {n}", "n": float(n)}) for n in range(30)))
    groups = colouring(many, "f")
    assert len(groups.names) == 10 and groups.names[-1] == "21 others" and list(groups.group_of).count(9) == 21
    assert colouring(many, "n").group_of == sorted(colouring(many, "n").group_of)
    assert len(colouring(many, "n").names) == 5


def test_png_holds_the_pixels() -> None:
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    made = png(pixels)
    data = made[made.index(b"IDAT") + 4 : made.index(b"IEND") - 8]
    lines = np.frombuffer(zlib.decompress(data), np.uint8).reshape(2, 10)
    assert (lines[:, 1:].reshape(2, 3, 3) == pixels).all() and not lines[:, 0].any()


def test_a_model_without_a_decoder_leaves_completion_and_variants_out_and_says_so(
    sources: Sources, tmp_path: Path
) -> None:
    from openankh.loaded import load

    encoder = load(sources.loaded.folder, offline=True, part="encoder")
    (dossier,) = DossierMaker(Sources(encoder), dossier_samples.records()[:1], DossierOptions()).make()
    assert dossier.second_half is None and dossier.variants is None and len(dossier.notes) == 2
