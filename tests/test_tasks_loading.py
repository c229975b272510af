"""Loading a task: every mistake in its files is one line with file, line and protein; splits share no sequence."""

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from openankh.errors import UserError
from openankh.tasks.contact_map import contact_map
from openankh.tasks.data_folder import DataFolder
from openankh.tasks.evaluation import evaluate
from openankh.tasks.examples import Examples, TaskData
from openankh.tasks.kmer_clusters import kmer_clusters
from openankh.tasks.loading import load_task
from openankh.tasks.mmseqs_clusters import read_clusters
from openankh.tasks.named_tasks import find_task
from openankh.tasks.pdb_file import read_chains
from openankh.tasks.splitting import cut_by_clusters, divide
from openankh.tasks.target_space import Classes, Contacts, Labels, Numbers
from openankh.tasks.task import Coordinates, Cut, Source, Task
from task_samples import LETTERS, write_csv, write_data


def pdb_line(number: int, atom: str, residue: str, chain: str, place: str, xyz: tuple[float, float, float]) -> str:
    x, y, z = xyz
    return f"ATOM  {number:5d}  {atom:<3} {residue} {chain}{place:>4}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00\n"


PDB = (
    pdb_line(1, "N", "MET", "A", "1", (9, 9, 9))
    + pdb_line(2, "CA", "MET", "A", "1", (0, 0, 0))
    + pdb_line(3, "CB", "MET", "A", "1", (1, 0, 0))
    + pdb_line(4, "CB", "MET", "A", "1", (7, 0, 0))  # an alternative place
    + pdb_line(5, "CA", "GLY", "A", "2", (3, 0, 0))
    + pdb_line(6, "CA", "LYS", "A", "3", (6, 0, 0))  # no C-beta
    + pdb_line(7, "CB", "SER", "A", "4", (8, 0, 0))  # no C-alpha
    + pdb_line(8, "CA", "UNK", "B", "1", (0, 5, 0))
    + "ENDMDL\n"
    + pdb_line(9, "CA", "TRP", "B", "2", (0, 5, 0))
)


def residue_task(file: str, masks: tuple[str, ...] = ()) -> Task:
    sources = tuple(Source(file, "ss", id="id", mask=masks, split=split) for split in ("train", "valid"))
    return Task("mine", "Mine", "residue", "classes", ("accuracy",), sources, "ours", classes=("C", "H"))


def message_of(task: Task, folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_task(task, DataFolder(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("p2", "ACDE", "CHC"), "a.csv, line 3 (p2): 4 residues and a label string of 3 letters"),
        (("p2", "ACDE", "CHXC"), "a.csv, line 3 (p2): label 'X' at residue 3 is not one of C, H"),
        (("p2", "ACDE", "CHéC"), "a.csv, line 3 (p2): label 'é' at residue 3 is not one of C, H"),
    ],
)
def test_a_bad_label_string_names_its_row(row: tuple[str, str, str], message: str, tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ("id", "sequence", "ss"), [("p1", "ACDE", "CHCH"), row])
    assert message in message_of(residue_task("a.csv"), tmp_path)


def test_an_unpacked_table_serves_as_well_and_odd_letters_are_read_as_x(tmp_path: Path) -> None:
    header = ("id", "sequence", "ss", "seen")
    write_csv(tmp_path / "a.csv", header, [("p1", "AcJE", "CH-H", "1101")])
    write_csv(tmp_path / "b.csv", header, [("p2", "AC", "CH", "11")])
    sources = tuple(
        Source(file, "ss", id="id", mask=("seen",), split=split)
        for file, split in (("a.csv.gz", "train"), ("b.csv.gz", "valid"))
    )
    data = load_task(replace(residue_task("a.csv.gz"), sources=sources), DataFolder(tmp_path))
    assert data.train.sequences == ("ACXE",) and data.train.targets[0].tolist() == [0, 1, -1, 1]


def test_a_mask_of_other_letters_names_its_row(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ("id", "sequence", "ss", "seen"), [("p1", "ACDE", "CHHH", "110x")])
    assert "line 2 (p1): mask has 'x'; write 1 for residues that count" in message_of(
        residue_task("a.csv", ("seen",)), tmp_path
    )


def test_an_empty_split_is_one_line(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ("id", "sequence", "ss"), [("p1", "ACDE", "CHHH")])
    task = residue_task("a.csv")
    assert "the split valid is empty" in message_of(replace(task, sources=task.sources[:1]), tmp_path)


def test_missing_files_and_folders_are_one_line(tmp_path: Path) -> None:
    assert "deeploc1.csv.gz: no such file; docs/data.md" in message_of(find_task("localisation"), tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        DataFolder(tmp_path / "none")


def test_contacts_come_with_their_coordinates(tmp_path: Path) -> None:
    data = load_task(find_task("contact-ca"), DataFolder(write_data(tmp_path)))
    sequence, xyz_L3 = data.train.sequences[0], data.train.targets[0]
    contacts_LL = contact_map(xyz_L3)
    cysteines = np.array([letter == "C" for letter in sequence])
    assert np.array_equal(contacts_LL, (cysteines[:, None] & cysteines) | np.eye(len(sequence), dtype=bool))


def test_chains_are_read_as_pdb_files_mean_them() -> None:
    chains = read_chains(PDB.splitlines(keepends=True), "CB")
    assert {name: chain.sequence for name, chain in chains.items()} == {"A": "MGK", "B": "X"}
    np.testing.assert_array_equal(chains["A"].xyz_L3[:2], [[1, 0, 0], [3, 0, 0]])
    assert np.isnan(chains["A"].xyz_L3[2]).all()
    assert read_chains(PDB.splitlines(), "CA")["A"].xyz_L3[2].tolist() == [6, 0, 0]


def test_a_residue_without_coordinates_touches_nothing() -> None:
    xyz_L3 = np.zeros((3, 3), np.float32)
    xyz_L3[1] = np.nan
    assert contact_map(xyz_L3).sum() == 4


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("x.pdb", "A", "MGR"), "has another sequence"),
        (("x.pdb", "C", "MGK"), "has no chain C"),
        (("y.pdb", "A", "M"), "no chain A of y"),
    ],
)
def test_a_structure_that_does_not_fit_names_its_row(row: tuple[str, str, str], message: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar.xz", "w:xz") as archive:
        member = tarfile.TarInfo("in/x.pdb")
        member.size = len(PDB)
        archive.addfile(member, io.BytesIO(PDB.encode()))
    write_csv(tmp_path / "c.csv", ("file", "chain", "sequence"), [row])
    sources = (Source("c.csv", id="file", split="train"),)
    where = Coordinates("s.tar.xz", "CB", "chain")
    task = Task("mine", "Mine", "pair", "contacts", ("precision_at_L/5",), sources, "ours", coordinates=where)
    assert message in message_of(task, tmp_path) and "c.csv, line 2" in message_of(task, tmp_path)


def test_an_archive_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "contact").mkdir()
    (tmp_path / "contact" / "pdb_structures.tar.xz").write_text("no archive")
    write_csv(tmp_path / "contact" / "pdb_chains.csv", ("file", "chain", "sequence"), [("x.pdb", "A", "MGK")])
    assert "no archive of PDB files" in message_of(find_task("contact-cb"), tmp_path)


def variant(sequence: str, num: int, generator: np.random.Generator) -> str:
    letters = list(sequence)
    for at in generator.choice(len(letters), num, replace=False):
        letters[at] = LETTERS[(LETTERS.index(letters[at]) + 1) % 20]
    return "".join(letters)


def test_relatives_cluster_and_strangers_do_not() -> None:
    generator = np.random.default_rng(0)
    families = ["".join(generator.choice(list(LETTERS), 150)) for _ in range(30)]
    sequences = [variant(each, 15, generator) for each in families for _ in range(4)]
    clusters_N = kmer_clusters(sequences, 0.5)
    assert [len(set(clusters_N[4 * n : 4 * n + 4])) for n in range(30)] == [1] * 30
    assert len(set(clusters_N)) == 30


def test_clusters_do_not_depend_on_the_order_of_the_proteins() -> None:
    generator = np.random.default_rng(1)
    ancestors = ["".join(generator.choice(list(LETTERS), 80)) for _ in range(8)]
    sequences = [variant(each, num, generator) for each in ancestors for num in (2, 20, 40)]
    order = generator.permutation(len(sequences))
    one = kmer_clusters(sequences)
    other = np.empty_like(one)
    other[order] = kmer_clusters([sequences[at] for at in order])
    assert np.array_equal(one[:, None] == one, other[:, None] == other)


def test_short_and_equal_sequences_have_clusters_too() -> None:
    assert kmer_clusters(["AC", "AC", "GG", "A"]).tolist() in ([0, 0, 1, 2], [1, 1, 0, 2])


def test_no_cluster_is_torn_and_nothing_is_lost() -> None:
    generator = np.random.default_rng(2)
    clusters_N = generator.integers(40, size=300)
    parts = divide(clusters_N, {"test": 0.2, "valid": 0.1}, "train", seed=1)
    assert sorted(place for part in parts.values() for place in part) == list(range(300))
    found = [set(clusters_N[part]) for part in parts.values()]
    assert sum(map(len, found)) == len(set(clusters_N))
    assert 45 <= len(parts["test"]) <= 60 and 20 <= len(parts["valid"]) <= 30


def test_a_giant_cluster_is_learned_from() -> None:
    parts = divide(np.array([0] * 90 + list(range(1, 11))), {"test": 0.05, "valid": 0.05}, "train")
    assert set(range(90)) <= set(parts["train"]) and len(parts["test"]) == len(parts["valid"]) == 5


def test_clusters_of_mmseqs_are_read_from_its_table() -> None:
    assert read_clusters("0\t0\n0\t2\n1\t1\n", 3).tolist() == [0, 1, 0]
    with pytest.raises(UserError, match="left 1 sequences in no cluster"):
        read_clusters("0\t0\n", 2)


MMSEQS = """#!/bin/sh
test "$1" = easy-cluster || exit 1
grep '^>' "$2" | tr -d '>' | awk '{print $1 - $1 % 2 "\\t" $1}' > "$3_cluster.tsv"
"""


def test_mmseqs_is_asked_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in that puts every two sequences together; parts keep those pairs."""
    program = tmp_path / "mmseqs"
    program.write_text(MMSEQS)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    generator = np.random.default_rng(0)
    sequences = tuple("".join(generator.choice(list(LETTERS), 30)) for _ in range(40))
    whole = Examples(tuple(map(str, range(40))), sequences, tuple(np.array(0.5) for _ in range(40)))
    division = cut_by_clusters({"train": whole}, Cut(valid=0.2, test=0.2), "auto")
    assert division.how == "by clusters of MMseqs2"
    for part in division.splits.values():
        assert all(str(int(name) ^ 1) in part.ids for name in part.ids)
    program.write_text("#!/bin/sh\necho no room >&2\nexit 3\n")
    with pytest.raises(UserError, match=r"mmseqs: failed \(no room\); cluster by words instead"):
        cut_by_clusters({"train": whole}, Cut(valid=0.2, test=0.2), "mmseqs")


def judged(task: Task, space: object, outputs: list[np.ndarray], targets: list[np.ndarray]) -> dict[str, float]:
    num = len(targets)
    examples = Examples(tuple(map(str, range(num))), ("A",) * num, tuple(targets))
    found = evaluate(task, space, outputs, examples)  # type: ignore[arg-type]  # pyright: ignore
    return {each.name: each.interval.value for each in found}


def test_residues_that_are_masked_are_not_judged() -> None:
    task = residue_task("a.csv")
    told = np.array([[9.0, 0.0], [0.0, 9.0], [9.0, 0.0]])
    found = judged(task, Classes(("C", "H")), [told] * 2, [np.array([0, -1, 0]), np.array([-1, -1, 1])])
    assert found == {"accuracy": pytest.approx(2 / 3)}


def test_every_kind_of_target_is_judged() -> None:
    generator = np.random.default_rng(0)
    numbers = [np.array(value) for value in generator.normal(size=50)]
    task = find_task("fluorescence")
    assert judged(task, Numbers(), [np.array([3 * each + 1]) for each in numbers], numbers) == {"spearman": 1.0}
    task = find_task("localisation-multi")
    labels = [generator.integers(0, 2, 3) for _ in range(50)]
    found = judged(task, Labels(("a", "b", "c")), [each - 0.5 for each in labels], labels)
    assert found == {"f1": 1.0, "mcc": 1.0, "auc": 1.0}
    task = find_task("solubility")
    classes = [np.array(n % 2) for n in range(50)]
    logits = [np.array([-1.0, 1.0]) if each else np.array([1.0, -1.0]) for each in classes]
    assert judged(task, Classes(("0", "1")), logits, classes) == {"accuracy": 1.0, "mcc": 1.0, "auc": 1.0}


def test_many_classes_are_judged_without_filling_the_memory() -> None:
    generator = np.random.default_rng(0)
    names = tuple(map(str, range(600)))
    classes = [np.array(generator.integers(600)) for _ in range(50)]
    logits = [np.eye(600)[int(each)] for each in classes]
    task = replace(find_task("fold"), metrics=("mcc", "f1"))
    found = judged(task, Classes(names), logits, classes)
    assert found["mcc"] == 1 and 0 < found["f1"] < 0.1


def test_residue_classes_that_are_not_named_are_those_of_training(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ("id", "sequence", "ss"), [("p1", "ACDE", "-HHE")])
    write_csv(tmp_path / "b.csv", ("id", "sequence", "ss"), [("p2", "ACDF", "HHEE")])
    sources = tuple(
        Source(f"{file}.csv", "ss", id="id", split=split) for file, split in (("a", "train"), ("b", "valid"))
    )
    data = load_task(replace(residue_task("a.csv"), sources=sources, classes=()), DataFolder(tmp_path))
    assert isinstance(data.space, Classes) and data.space.names == ("E", "H")


def test_strangers_do_not_join_a_giant(tmp_path: Path) -> None:
    """One protein of 8,000 residues holds some words of everybody."""
    generator = np.random.default_rng(3)
    shares = np.array([8.0, 4, 4, *[1] * 17]) / 33
    sequences = ["".join(generator.choice(list(LETTERS), num, p=shares)) for num in (8000, *[150] * 60)]
    assert len(set(kmer_clusters(sequences))) == 61


def test_contacts_are_judged_by_range() -> None:
    generator = np.random.default_rng(0)
    chains = [generator.normal(0, 9, (60, 3)).astype(np.float32) for _ in range(3)]
    chains[0][5] = np.nan
    perfect = [contact_map(xyz_L3).astype(float) for xyz_L3 in chains]
    found = judged(find_task("contact-ca"), Contacts(), perfect, list(chains))
    assert list(found) == ["L/5 all", "L/1 all", "L/5 short", "L/5 medium", "L/5 long", "L/5 medium and long"]
    assert found["L/5 all"] == 1 and found["L/5 long"] == 1


def test_the_fingerprint_tells_data_apart(tmp_path: Path) -> None:
    data = load_task(find_task("contact-ca"), DataFolder(write_data(tmp_path / "a")))
    other = load_task(find_task("contact-ca"), DataFolder(write_data(tmp_path / "b", seed=1)))
    same = load_task(find_task("contact-ca"), DataFolder(write_data(tmp_path / "c")))
    assert isinstance(data, TaskData)
    assert data.fingerprint == same.fingerprint != other.fingerprint
