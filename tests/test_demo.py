"""The demo: its proteins, neighbours, map and pages, and the whole of it with a small untrained model."""

import csv
import itertools
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from openankh.checkpoint import Provenance, save_model
from openankh.config import ModelConfig
from openankh.demo import showing
from openankh.demo.__main__ import main
from openankh.demo.exhibition import findings, shares, well_spread, write_table
from openankh.demo.family_map import draw, laid_out
from openankh.demo.neighbours import AMINO_ACIDS, centred_units, composition, nearest
from openankh.demo.proteins import Protein, bundled_fasta, bundled_proteins, families_of, short_organism
from openankh.demo.stored import read_vectors
from openankh.model import Ankh
from openankh.pretraining.initialisation import initialise
from openankh.vocab import openankh_vocab


@pytest.fixture(scope="module")
def proteins() -> tuple[Protein, ...]:
    return bundled_proteins()


def random_vectors(num: int, width: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num, width))


def test_about_two_hundred_proteins_of_many_families_and_kingdoms(proteins: tuple[Protein, ...]) -> None:
    families = Counter(families_of(proteins))
    assert 180 <= len(proteins) <= 240
    assert 12 <= len(families) <= 21
    assert min(families.values()) >= 4
    kingdoms = {protein.kingdom for protein in proteins}
    assert kingdoms == {"animal", "plant", "fungus", "protist", "bacterium", "archaeon", "virus"}


def test_every_bundled_protein_is_whole_and_named_once(proteins: tuple[Protein, ...]) -> None:
    assert len({protein.accession for protein in proteins}) == len(proteins)
    assert len({protein.sequence for protein in proteins}) == len(proteins)
    for protein in proteins:
        assert set(protein.sequence) <= set(AMINO_ACIDS)
        assert 80 <= len(protein.sequence) <= 600
        assert protein.name
        assert protein.organism


def test_families_stand_together_in_the_file(proteins: tuple[Protein, ...]) -> None:
    families = families_of(proteins)
    changes = sum(one != other for one, other in itertools.pairwise(families))
    assert changes == len(set(families)) - 1


def test_the_bundled_file_is_small_and_its_source_is_told() -> None:
    assert bundled_fasta().stat().st_size < 120_000
    told = (bundled_fasta().parent / "README.md").read_text()
    assert "UniProt" in told
    assert "CC BY 4.0" in told


def test_known_proteins_are_what_they_are_called(proteins: tuple[Protein, ...]) -> None:
    by_accession = {protein.accession: protein for protein in proteins}
    assert by_accession["P42212"].sequence.startswith(
        "MSKGEELFTGVVPILVELDGDVNGHKFSVSGEGEGDATYGKLTLKFICTTGKLPVPWPTLVTTFSYG"
    )
    assert by_accession["P01308"].sequence[24:54] == "FVNQHLCGSHLVEALYLVCGERGFFYTPKT"  # insulin's B chain
    assert by_accession["P0AA25"].name == "thioredoxin 1"
    assert by_accession["P04382"].kingdom == "virus"


def test_only_binomials_are_abbreviated() -> None:
    assert short_organism("Escherichia coli") == "E. coli"
    assert short_organism("Vaccinia virus") == "Vaccinia virus"
    assert short_organism("Nostoc sp. PCC 7120") == "Nostoc sp. PCC 7120"


def test_a_neighbour_is_never_the_protein_itself_and_the_slow_way_finds_the_same() -> None:
    vectors = random_vectors(40)
    found = nearest(vectors)
    centred = vectors - vectors.mean(0)
    for here, (place, similarity) in enumerate(zip(found.places, found.similarities, strict=True)):
        cosines = [
            -2 if there == here else centred[here] @ row / np.linalg.norm(centred[here]) / np.linalg.norm(row)
            for there, row in enumerate(centred)
        ]
        assert place == int(np.argmax(cosines)) != here
        assert similarity == pytest.approx(max(cosines))


def test_what_all_proteins_share_does_not_count() -> None:
    vectors = random_vectors(30)
    shifted = nearest(1000.0 + vectors)
    assert (shifted.places == nearest(vectors).places).all()


def test_equal_vectors_have_similarities_without_a_warning() -> None:
    found = nearest(np.ones((4, 3)))
    assert np.isfinite(found.similarities).all()
    assert np.isfinite(centred_units(np.zeros((4, 3)))).all()


def test_twins_are_neighbours_at_similarity_one() -> None:
    vectors = random_vectors(10)
    found = nearest(np.vstack([vectors, vectors]))
    assert (found.places == (np.arange(20) + 10) % 20).all()
    assert found.similarities == pytest.approx(1.0)
    assert found.share_alike([*"abcdefghij"] * 2) == 1.0


def test_composition_is_the_share_of_each_amino_acid() -> None:
    shares_N20 = composition(["AAC", "W" * 7])
    assert shares_N20[0, AMINO_ACIDS.index("A")] == pytest.approx(2 / 3)
    assert shares_N20.sum(1) == pytest.approx(1.0)


def test_composition_alone_finds_most_families(proteins: tuple[Protein, ...]) -> None:
    """Measured when the file was made: 0.769. What a model is worth shows in how far it is above that."""
    neighbours = nearest(composition([protein.sequence for protein in proteins]))
    compared = shares(proteins, neighbours, untrained_ND=None)
    assert compared.model == compared.composition
    assert 0.70 < compared.composition < 0.85
    assert compared.chance < 0.06
    assert compared.untrained is None


def test_the_short_table_is_short_and_begins_with_the_first(proteins: tuple[Protein, ...]) -> None:
    found = findings(proteins, nearest(random_vectors(len(proteins))))
    shown = well_spread(found)
    assert 10 <= len(shown) <= 15
    assert shown[0] is found[0]
    assert len({finding.family for finding in shown}) >= 10


def test_the_table_file_holds_every_protein(proteins: tuple[Protein, ...], tmp_path: Path) -> None:
    found = findings(proteins, nearest(random_vectors(len(proteins))))
    write_table(found, tmp_path / "neighbours.csv")
    with (tmp_path / "neighbours.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [protein.accession for protein in proteins]
    assert rows[7]["nearest_id"] == found[7].nearest_id
    assert float(rows[7]["similarity"]) == found[7].similarity


def test_the_map_is_the_same_at_every_run_and_keeps_clusters_apart(tmp_path: Path) -> None:
    centres = np.repeat(10 * np.eye(8)[:3], 20, axis=0)
    vectors = centres + random_vectors(60)
    places = laid_out(vectors)
    assert (places == laid_out(vectors)).all()
    families = np.repeat(["a", "b", "c"], 20)
    assert (families == families[nearest(places).places]).mean() > 0.9
    draw(places, list(families), "A title", ("and what", "it says"), tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def test_the_map_has_a_mark_of_its_own_for_every_family(proteins: tuple[Protein, ...]) -> None:
    from openankh.demo.family_map import marks

    assert len(set(marks(families_of(proteins)).values())) == len(set(families_of(proteins)))


@pytest.fixture(scope="module")
def untrained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model of random weights."""
    config = ModelConfig(
        vocab_size=256, d_model=16, d_ff=16, d_kv=8, num_heads=1, num_encoder_layers=1, num_decoder_layers=1
    )
    model, vocab = Ankh(config), openankh_vocab()
    initialise(model, vocab, "published", seed=3)
    folder = tmp_path_factory.mktemp("models") / "untrained"
    save_model(model, vocab, folder, Provenance(name="untrained"))
    return folder


@pytest.fixture(scope="module")
def demonstrated(untrained_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a whole run of the demo wrote, twice over."""
    out = tmp_path_factory.mktemp("demo") / "deep" / "output"
    assert main(["--model", str(untrained_folder), "--out", str(out)]) == 0
    assert main(["--model", str(untrained_folder), "--out", str(out)]) == 0
    return out


def test_the_demo_writes_embeddings_a_map_and_a_table_and_nothing_else(demonstrated: Path) -> None:
    assert {path.name for path in demonstrated.iterdir()} == {"embeddings.h5", "map.png", "neighbours.csv"}


def test_the_embeddings_lie_in_the_order_of_the_proteins(demonstrated: Path, proteins: tuple[Protein, ...]) -> None:
    vectors = read_vectors(demonstrated / "embeddings.h5")
    assert vectors.shape == (len(proteins), 16)
    with (demonstrated / "neighbours.csv").open(newline="") as file:
        nearest_ids = [row["nearest_id"] for row in csv.DictReader(file)]
    assert nearest_ids == [proteins[place].accession for place in nearest(vectors).places]


def test_the_page_fits_eighty_columns_and_tells_what_a_reader_needs(
    proteins: tuple[Protein, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    neighbours = nearest(random_vectors(len(proteins)))
    console = Console(width=80)
    showing.show_findings(console, findings(proteins, neighbours), tmp_path / "neighbours.csv")
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["id", "protein", "length", "nearest", "neighbour", "similarity", "family"]
    assert all(len(line) <= 80 for line in table[:-2])
    assert table[1].startswith("P60174  triose-ph")
    assert " 286 " in table[1]
    compared = shares(proteins, neighbours, random_vectors(len(proteins), seed=1))
    showing.show_shares(console, compared, "some-model")
    printed = capsys.readouterr().out
    assert "some-model" in printed
    assert re.search(r"amino-acid composition alone +77%", printed)
    assert "untrained" in printed


def test_what_to_type_next_names_the_model_that_was_used(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    showing.show_next(Console(width=80), "my-model", tmp_path / "embeddings.h5")
    printed = capsys.readouterr().out
    assert "embed YOUR.fasta -o YOUR.h5 --model my-model" in printed
    assert "info " in printed
    showing.show_next(Console(width=80), "openankh-nano", tmp_path / "embeddings.h5")
    assert "--model" not in capsys.readouterr().out


def test_mistakes_give_one_line_and_exit_code_two(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    mistakes = {
        "no such name or folder": ["--model", "ankh-bsae", "--out", str(tmp_path / "out")],
        "cannot be made": ["--out", str(tmp_path / "file")],
        "unrecognized arguments": ["--modle", "x"],
    }
    for sign, arguments in mistakes.items():
        assert main(arguments) == 2
        line = capsys.readouterr().err
        assert sign in line
        assert line.count("\n") == 1


def test_missing_extras_are_named_with_the_remedy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["--out", str(tmp_path / "out")]) == 2
    line = capsys.readouterr().err
    assert line == ('error: the demo needs h5py and matplotlib and scikit-learn; run: pip install "openankh[demo]"\n')
    assert not (tmp_path / "out").exists()
