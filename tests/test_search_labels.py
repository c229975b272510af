"""Labels are read strictly, compared level by level, and trusted as far as the proteins searched show."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openankh.errors import UserError
from openankh.search.exact import ExactSearch
from openankh.search.labels import LabelColumn, header_labels, read_labels
from openankh.search.levels import FLAT, levels_of
from openankh.search.reliability import MIN_PAIRS, UNKNOWN, calibrate
from openankh.search.transfer import LabelTransfer
from openankh.search.vectors import ArrayVectors
from search_samples import families

IDS = ("P1", "P2", "P3", "P1")


def table(folder: Path, text: str, name: str = "labels.csv") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def test_every_protein_has_its_label_and_proteins_of_one_id_the_same(tmp_path: Path) -> None:
    path = table(tmp_path, 'id,family,note\nP3,"globins, all",x\nP1,kinases,\nother,z,z\n')
    family, note = read_labels(path, IDS)
    assert (family.name, family.values, family.num_labelled) == (
        "family",
        ("kinases", "", "globins, all", "kinases"),
        3,
    )
    assert note.values == ("", "", "x", "")


def test_columns_can_be_chosen_and_sequences_are_no_labels(tmp_path: Path) -> None:
    path = table(tmp_path, "cath\tid\tsequence\n1.10.8.10\tP1\tMKV\n", "labels.tsv.gz")
    (only,) = read_labels(path, IDS)
    assert only.name == "cath" and only.values[0] == "1.10.8.10"
    (chosen,) = read_labels(path, IDS, ["sequence"])
    assert chosen.values == ("MKV", "", "", "MKV")


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_byte_order_mark_windows_line_ends_and_blank_lines_are_ignored(tmp_path: Path, ends: str) -> None:
    path = table(tmp_path, "\ufeffid,family" + ends + ends + "P2, a " + ends)
    assert read_labels(path, IDS)[0].values == ("", "a", "", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,family\nP1,a\nP1,b\n", r"line 3: P1 has other labels than on line 2"),
        ("id,family\nP1,a,b\n", r"line 2: 3 columns where the header has 2"),
        ("id,family\nX1,a\n", r"labels none of the 4 proteins searched \(it begins with 'X1', they with 'P1'\)"),
        ("id\nP1\n", "no two columns"),
        ("", "no two columns"),
        ("id,sequence\nP1,MKV\n", "no column but 'id' and sequences"),
        ('id,family\nP1,"a"b\n', "line 2: not a table"),
    ],
)
def test_a_malformed_table_is_an_error_of_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_labels(table(tmp_path, text), IDS)


def test_a_column_that_is_not_there_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no column 'famly'; did you mean family"):
        read_labels(table(tmp_path, "id,family\nP1,a\n"), IDS, ["famly"])


def test_bytes_that_are_no_text_are_an_error_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(b"id,family\nP1,caf\xe9\n")
    with pytest.raises(UserError, match=r"line 2: not UTF-8"):
        read_labels(path, IDS)


def test_labels_stand_in_fasta_headers_too(tmp_path: Path) -> None:
    path = table(tmp_path, ">P1 Some kinase OS=Homo sapiens OX=9606 family=a\nMKV\n>P3 family=b c\nMK\n", "p.fasta")
    organism, family = read_labels(path, IDS, ["OS", "family"])
    assert organism.values == ("Homo sapiens", "", "", "Homo sapiens")
    assert family.values == ("a", "", "b c", "a")
    with pytest.raises(UserError, match="--label family"):
        read_labels(path, IDS)
    with pytest.raises(UserError, match="no header says famly="):
        read_labels(path, IDS, ["famly"])


def test_header_values_go_on_until_the_next_key() -> None:
    pairs = header_labels("Cytochrome b=c like OS=Escherichia coli (strain K12) GN=yx=1 SV=2")
    assert pairs["OS"] == "Escherichia coli (strain K12)" and pairs["SV"] == "2" and pairs["b"] == "c like"
    assert header_labels("nothing here") == {}


@pytest.mark.parametrize(
    ("name", "labels", "names"),
    [
        ("cath", ["3.40.50.720", "1.10.8.10", ""], ("C", "A", "T", "H")),
        ("superfamily", ["3.40.50.720", "1.10.8.10"], ("1", "2", "3", "4")),
        ("ec", ["1.1.1.1", "3.4.-.-", "1.1.1.n1"], ("1", "2", "3", "4")),
        ("scop", ["a.1.1.2", "c.37.1"], ("1", "2", "3", "4")),
        ("stability", ["1.25", "0.5"], ("",)),
        ("family", ["kinases", "3.40.50.720"], ("",)),
        ("none", [], ("",)),
    ],
)
def test_levels_are_read_from_the_labels(name: str, labels: list[str], names: tuple[str, ...]) -> None:
    assert levels_of(name, labels).names == names


def test_a_label_is_cut_to_its_level_where_it_says_so_much() -> None:
    levels = levels_of("ec", ["1.2.3.4"])
    assert [levels.cut("1.2.-.-", level) for level in range(4)] == ["1", "1.2", "", ""]
    assert [levels.cut("1.2.3", level) for level in range(4)] == ["1", "1.2", "1.2.3", ""]
    assert FLAT.cut("1.2.3", 0) == "1.2.3"


pairs = st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=0, max_size=600)


@given(pairs)
def test_shares_never_rise_with_the_distance_and_count_every_pair_once(found: list[tuple[int, bool]]) -> None:
    distances = np.array([distance for distance, _ in found], np.float64)
    agrees = np.array([agree for _, agree in found], np.bool_)
    calibration = calibrate(distances, agrees)
    assert int(calibration.num_pairs.sum()) == len(found)
    assert (np.diff(calibration.shares) < 0).all() and (np.diff(calibration.farthest) > 0).all()
    assert calibration.shares @ calibration.num_pairs == pytest.approx(agrees.sum())
    assert (calibration.num_pairs >= min(MIN_PAIRS, len(found))).all()
    for share, farthest in zip(calibration.shares, calibration.farthest, strict=True):
        assert calibration.at(farthest).share == share
    assert calibration.at(41.0) == UNKNOWN and calibration.at(float("nan")) == UNKNOWN


def test_a_calibration_recovers_a_known_share() -> None:
    generator = np.random.default_rng(0)
    distances = generator.random(20_000)
    calibration = calibrate(distances, generator.random(20_000) < 1 - distances)
    for distance in (0.1, 0.5, 0.9):
        found = calibration.at(distance)
        assert found.share == pytest.approx(1 - distance, abs=0.08) and found.num_pairs >= MIN_PAIRS


def test_a_neighbours_label_is_trusted_as_often_as_it_was_right() -> None:
    """Families far apart, a third of whose members carry a label of their own: 4 pairs of 9 agree, at any distance."""
    vectors = ArrayVectors(families(3200, 10, common=0.0))
    generator = np.random.default_rng(0)
    labels = [f"f{place // 8}" if generator.random() > 1 / 3 else f"odd{place}" for place in range(3200)]
    labels[::10] = [""] * 320
    search = ExactSearch(vectors, "euclidean")
    transfer = LabelTransfer([LabelColumn("family", tuple(labels))], search, 2)
    assert transfer.names == (("family", ("",)),)
    (near,) = transfer.of(1, 0, 0.6)
    ((level, reliability),) = near.reliability
    assert (near.name, near.label, level) == ("family", labels[1], "")
    assert reliability.share == pytest.approx(4 / 9, abs=0.08) and reliability.num_pairs >= MIN_PAIRS
    assert transfer.of(0, 0, 0.6)[0].reliability == ()  # no label, nothing to trust
    assert transfer.of(1, 1, 1e9)[0].reliability[0][1] == UNKNOWN


def test_hierarchical_labels_are_trusted_more_the_coarser_the_level() -> None:
    vectors = ArrayVectors(families(600, 10, members=4))
    codes = tuple(f"{1 + place % 3}.{place // 100}.{place // 8}.{place}" for place in range(600))
    transfer = LabelTransfer([LabelColumn("cath", codes)], ExactSearch(vectors, "cosine"), 1)
    shares = [found.share for _, found in transfer.of(5, 0, 1e-4)[0].reliability]
    assert len(shares) == 4 and all(share is not None for share in shares) and shares[3] == 0.0
