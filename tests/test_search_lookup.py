"""A lookup embeds what is FASTA as what is searched was, refuses what cannot be compared, and answers in order."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import openankh
from model_folders import TINY, random_model
from openankh import cli
from openankh.checkpoint import Provenance, save_model
from openankh.cli.app import build_app
from openankh.errors import UserError
from openankh.fasta import Record
from openankh.lookup import embedded_fasta as embedded_fasta_module
from openankh.lookup.lookup import Lookup
from openankh.lookup.watching import Watcher
from openankh.published import BUNDLED
from openankh.store import EmbeddingStore
from openankh.vocab import ankh_vocab
from search_samples import plain_nearest

LETTERS = "ACDEFGHIKLMNPQRSTVWY"


def sequences(num: int, seed: int = 0) -> list[str]:
    generator = np.random.default_rng(seed)
    return ["".join(generator.choice(list(LETTERS), int(generator.integers(5, 40)))) for _ in range(num)]


def write_fasta(path: Path, found: list[str], prefix: str = "P") -> Path:
    lines = [f">{prefix}{number} family=f{number % 3}\n{text}\n" for number, text in enumerate(found)]
    path.write_text("".join(lines))
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("one", "other")):
        save_model(random_model(TINY, seed), ankh_vocab(), folder / name, Provenance(name))
    return folder


@pytest.fixture(scope="module")
def made(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 40 proteins as FASTA and, embedded, as the store `mean`; 6 queries as FASTA and store `queries`."""
    folder = tmp_path_factory.mktemp("made")
    write_fasta(folder / "db.fasta", sequences(40))
    write_fasta(folder / "q.fasta", [*sequences(4, seed=1), *sequences(40)[5:7]], "Q")
    embed(folder / "db.fasta", folder / "mean", models)
    embed(folder / "q.fasta", folder / "queries", models)
    return folder


def embed(fasta: Path, store: Path, models: Path, *options: str, model: str = "one", dtype: str = "fp32") -> None:
    words = ["embed", str(fasta), "-o", f"{store}/", "-m", str(models / model), "--device", "cpu"]
    assert cli.main([*words, "--precision", "fp32", "--dtype", dtype, "--quiet", *options]) == 0


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def watcher(notes: list[str]) -> Watcher:
    return Watcher(note=notes.append)


def vectors(store: Path) -> np.ndarray:
    return np.stack([np.asarray(array) for array in EmbeddingStore.open(store)])


@pytest.mark.parametrize("queries", ["q.fasta", "queries"])
def test_fasta_and_store_give_the_same_neighbours(made: Path, queries: str) -> None:
    answers = list(Lookup.open(made / "mean").search(made / queries, 3))
    places, distances = plain_nearest(vectors(made / "queries"), vectors(made / "mean"), 3, "euclidean")
    assert [answer.query for answer in answers] == [f"Q{number}" for number in range(6)]
    assert [[each.place for each in answer.neighbours] for answer in answers] == places.tolist()
    assert [[each.id for each in answer.neighbours] for answer in answers] == [[f"P{p}" for p in row] for row in places]
    found = [[each.distance for each in answer.neighbours] for answer in answers]
    np.testing.assert_allclose(found, distances, rtol=1e-4, atol=1e-5)
    assert [each.rank for each in answers[0].neighbours] == [1, 2, 3]


def test_sequences_and_records_are_queries_too(made: Path) -> None:
    lookup = Lookup.open(made / "mean")
    texts = sequences(40)[5:7]
    (by_text,) = lookup.search([texts[0].lower()], 1)
    assert by_text.query == "1" and by_text.neighbours[0].id == "P5"
    (by_record,) = lookup.search([Record("mine", "", texts[1], 1)], 1)
    assert by_record.query == "mine" and by_record.neighbours[0].id == "P6"
    with pytest.raises(UserError, match="query 1: a int, neither"):
        list(lookup.search([7]))  # type: ignore[list-item]
    with pytest.raises(UserError, match="ask for at least 1"):
        lookup.search(texts, 0)


def test_a_protein_is_left_out_of_its_own_neighbours_by_sequence_and_by_vector(made: Path, models: Path) -> None:
    by_fasta = Lookup.open(made / "db.fasta", model=str(models / "one"), cache=made)
    for lookup, queries in ((by_fasta, "q.fasta"), (Lookup.open(made / "mean"), "queries")):
        *_, fifth, sixth = (answer.neighbours[0] for answer in lookup.search(made / queries, 1))
        assert (fifth.id, sixth.id) == ("P5", "P6")
        *others, fifth, sixth = lookup.search(made / queries, 40, exclude_self=True)
        assert all(len(answer.neighbours) == 40 for answer in others)
        for own, answer in (("P5", fifth), ("P6", sixth)):
            assert len(answer.neighbours) == 39 and own not in {each.id for each in answer.neighbours}


def test_one_id_is_one_protein(made: Path) -> None:
    answers = list(Lookup.open(made / "mean").search(made / "mean", 2, exclude_self=True))
    assert len(answers) == 40
    assert all(answer.query not in {each.id for each in answer.neighbours} for answer in answers)


def test_a_fasta_file_is_embedded_once_and_again_when_it_changes(
    tmp_path: Path, models: Path, notes: list[str], watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    fasta = write_fasta(tmp_path / "db.fasta", sequences(9))
    first = Lookup.open(fasta, model=str(models / "one"), watcher=watcher)
    place = first.store.folder
    assert place.parent == tmp_path and place.name.startswith("db.fasta.mean-layer2-")
    assert len(first) == 9 and len(notes) == 1 and "kept for the next search" in notes[0]

    with monkeypatch.context() as patched:
        patched.setattr(embedded_fasta_module, "embed_file", None)
        assert Lookup.open(fasta, model=str(models / "one"), watcher=watcher).store.folder == place
    other = Lookup.open(fasta, model=str(models / "one"), pool="max", layer=1).store.folder
    assert other.name.startswith("db.fasta.max-layer1-")
    assert Lookup.open(fasta, model=str(models / "other")).store.folder not in (place, other)

    write_fasta(fasta, sequences(10, seed=3))
    again = Lookup.open(fasta, model=str(models / "one"), watcher=watcher)
    assert len(again) == 10 and again.store.folder == place
    assert "of another content of" in notes[1]


def test_embeddings_of_fasta_go_to_the_cache_that_is_named(tmp_path: Path, models: Path) -> None:
    fasta = write_fasta(tmp_path / "db.fasta", sequences(5))
    (tmp_path / "cache").mkdir()
    lookup = Lookup.open(fasta, model=str(models / "one"), cache=tmp_path / "cache")
    assert lookup.store.folder.parent == tmp_path / "cache"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "db.fasta"]
    with pytest.raises(UserError, match=r"cannot be written.*--cache"):
        Lookup.open(fasta, model=str(models / "one"), cache=tmp_path / "none")


def test_vectors_made_otherwise_are_refused_with_the_field_named(made: Path, models: Path, tmp_path: Path) -> None:
    lookup = Lookup.open(made / "mean")
    for field, options in (("pool", ("--pool", "max")), ("layer", ("--layer", "1"))):
        embed(made / "q.fasta", tmp_path / field, models, *options)
        with pytest.raises(
            UserError, match=rf"{field}: {field} is .*, but .* in .*mean; embed the queries with --{field}"
        ):
            lookup.search(tmp_path / field)
    embed(made / "q.fasta", tmp_path / "model", models, model="other")
    with pytest.raises(UserError, match="made by another model"):
        lookup.search(tmp_path / "model")
    with pytest.raises(UserError, match="model_sha256 differs"):
        Lookup.open(made / "mean", model=str(models / "other")).search(made / "q.fasta")
    with pytest.raises(UserError, match="pool is mean, not max"):
        Lookup.open(made / "mean", pool="max")
    with pytest.raises(UserError, match="precision is fp32, not bf16"):
        Lookup.open(made / "mean", precision="bf16")


def test_another_rounding_is_told_and_no_hindrance(
    made: Path, models: Path, tmp_path: Path, notes: list[str], watcher: Watcher
) -> None:
    embed(made / "q.fasta", tmp_path / "half", models, dtype="fp16")
    answers = list(Lookup.open(made / "mean", watcher=watcher).search(tmp_path / "half", 1))
    assert len(answers) == 6 and any("has dtype fp16" in note for note in notes)


@pytest.mark.parametrize(
    ("against", "message"),
    [
        ("nothing", "no such file or folder; give an embedding store or a FASTA file"),
        ("-", "cannot be standard input"),
        ("out.npz", r"an export \(NPZ\); give the store"),
        ("empty", "not an embedding store"),
    ],
)
def test_what_cannot_be_searched_is_refused(made: Path, tmp_path: Path, against: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "out.npz", a=np.zeros(1))
    with pytest.raises(UserError, match=message):
        Lookup.open(against if against == "-" else tmp_path / against)
    with pytest.raises(UserError, match="metric 'manhattan': not one of cosine, euclidean"):
        Lookup.open(made / "mean", metric="manhattan")  # type: ignore[arg-type]


def test_labels_come_from_a_table_or_from_the_headers_of_what_is_searched(made: Path, models: Path) -> None:
    table = made / "labels.csv"
    table.write_text("id,cath\n" + "".join(f"P{number},1.{number % 2}.{number % 4}.{number}\n" for number in range(30)))
    lookup = Lookup.open(made / "mean", labels=table)
    assert lookup.label_names(2) == (("cath", ("C", "A", "T", "H")),)
    for answer in lookup.search(made / "queries", 2):
        for each in answer.neighbours:
            (transfer,) = each.transfers
            number = int(each.id[1:])
            assert transfer.label == (f"1.{number % 2}.{number % 4}.{number}" if number < 30 else "")
            assert len(transfer.reliability) == (4 if number < 30 else 0)
    by_header = Lookup.open(made / "db.fasta", model=str(models / "one"), label_names=["family"], cache=made)
    (answer, *_) = by_header.search(made / "q.fasta", 1)
    assert answer.neighbours[0].transfers[0].label == f"f{int(answer.neighbours[0].id[1:]) % 3}"
    with pytest.raises(UserError, match=r"is a store and holds no labels; name a table with --labels"):
        Lookup.open(made / "mean", label_names=["family"])


def test_too_few_vectors_for_an_index_are_searched_exactly(made: Path, notes: list[str], watcher: Watcher) -> None:
    exact = list(Lookup.open(made / "mean").search(made / "queries", 2))
    assert list(Lookup.open(made / "mean", approximate=True, watcher=watcher).search(made / "queries", 2)) == exact
    assert notes == ["exact search: 40 vectors are too few for an index to be of use"]


class Run:
    """The command `openankh search` in the folder of the samples."""

    def __init__(self, made: Path, models: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.made, self.models, self.out, self._capsys = made, models, out, capsys

    def __call__(self, query: str, against: str, *options: str) -> tuple[int, str, str]:
        """(exit code, stdout, stderr)."""
        code = cli.main(["search", str(self.made / query), "--against", str(self.made / against), *options])
        shown = self._capsys.readouterr()
        return code, shown.out, shown.err


@pytest.fixture
def run(made: Path, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    capsys.readouterr()
    return Run(made, models, tmp_path, capsys)


def test_the_command_writes_every_format(run: Run) -> None:
    for ending in ("csv", "tsv", "json"):
        code, out, err = run("queries", "mean", "-k", "2", "-o", str(run.out / f"out.{ending}"))
        assert (code, out) == (0, "")
        assert err == f"{run.out / f'out.{ending}'}: 12 neighbours of 6 queries among 40 proteins\n"
    rows = (run.out / "out.csv").read_text().splitlines()
    assert rows[0] == "query,rank,neighbour,distance,similarity" and len(rows) == 13
    assert (run.out / "out.tsv").read_text().replace("\t", ",").splitlines() == rows
    answers = json.loads((run.out / "out.json").read_text())
    assert [answer["query"] for answer in answers] == [f"Q{number}" for number in range(6)]
    assert rows[1].split(",")[2] == answers[0]["neighbours"][0]["id"]


def test_without_an_output_the_answers_are_printed(run: Run) -> None:
    code, out, _ = run("queries", "mean", "-k", "1")
    assert code == 0 and out.splitlines()[0].split() == ["query", "rank", "neighbour", "distance", "similarity"]
    assert len(out.splitlines()) == 7
    code, out, _ = run("queries", "mean", "-k", "1", "--json", "--metric", "cosine")
    assert code == 0 and len(json.loads(out)) == 6


def test_the_summary_in_json_says_what_was_searched(run: Run) -> None:
    code, out, _ = run("queries", "mean", "--json", "-o", str(run.out / "out.csv"), "--quiet")
    facts = json.loads(out)
    assert code == 0 and facts["num_queries"] == 6 and facts["num_searched"] == 40 and facts["pool"] == "mean"


def test_fasta_searched_by_a_store_is_embedded_as_the_store_was(run: Run) -> None:
    code, out, _ = run("queries", "db.fasta", "-k", "1", "--json", "--cache", str(run.out))
    assert code == 0
    expected = json.loads(run("queries", "mean", "-k", "1", "--json")[1])
    assert [answer["neighbours"][0]["id"] for answer in json.loads(out)] == [
        answer["neighbours"][0]["id"] for answer in expected
    ]


def test_queries_can_come_from_standard_input(run: Run) -> None:
    words = ["search", "-", "--against", str(run.made / "mean"), "-k", "1", "--device", "cpu", "--json"]
    with open(run.made / "q.fasta", "rb") as file:
        done = subprocess.run([sys.executable, "-m", "openankh", *words], stdin=file, capture_output=True, check=True)
    assert [answer["query"] for answer in json.loads(done.stdout)] == [f"Q{number}" for number in range(6)]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["-o", "out.xlsx"], "unknown ending '.xlsx'"),
        (["-k", "0"], "ask for at least 1"),
        (["--labels", "none.csv"], "none.csv: no such file"),
        (["--label", "x"], "holds no labels"),
        (["--layer", "1"], "has no layer 1; it holds 2"),
        (["--metric", "manhattan"], "manhattan"),
        (["--pool", "residues"], "residues"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(run: Run, options: list[str], line: str) -> None:
    code, out, err = run("queries", "mean", *options)
    assert code == 2 and out == "" and line in err
    assert err.startswith("error: ") and err.count("\n") == 1


def test_a_search_of_stores_needs_no_torch(made: Path) -> None:
    code = (
        "import sys; from openankh.cli import main\n"
        f"main(['search', {str(made / 'queries')!r}, '--against', {str(made / 'mean')!r}])\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_what_the_documentation_shows_runs(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the bundled model, on proteins named as there; a checkout may have no such model."""
    if not (Path(openankh.__file__).parent / "bundled" / BUNDLED).is_dir():
        pytest.skip("this checkout has no bundled model")
    write_fasta(tmp_path / "known.fasta", sequences(6))
    write_fasta(tmp_path / "new.fasta", sequences(2, seed=1), "Q")
    (tmp_path / "known.csv").write_text("id,family\nP1,a\nP2,b\n")
    monkeypatch.chdir(tmp_path)
    text = (repository / "docs" / "search.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(\w+)\n(.*?)```", text, flags=re.DOTALL)
    (code,) = [block for kind, block in blocks if kind == "python"]
    exec(compile(code, "search.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == 10
    commands = [shlex.split(line)[1:] for kind, block in blocks if kind == "sh" for line in block.splitlines()]
    for words in commands:
        build_app().parse_args(words)
    for words in commands[:2]:
        assert cli.main([*words, "--overwrite"]) == 0
        assert len((tmp_path / "nearest.csv").read_text().splitlines()) == 11
