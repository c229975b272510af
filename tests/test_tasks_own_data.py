"""A user's own table: what its labels are is recognised and told; whatever is wrong is one line with the row."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from openankh.errors import UserError
from openankh.tasks.own_data import OwnData, OwnOptions, read_own_data
from openankh.tasks.own_rows import Columns
from openankh.tasks.target_space import Classes, Labels, Numbers
from task_samples import LETTERS, write_csv

Rows = Sequence[tuple[object, ...]]


def proteins(num: int, seed: int = 0, length: int = 60) -> list[str]:
    generator = np.random.default_rng(seed)
    return ["".join(generator.choice(list(LETTERS), length)) for _ in range(num)]


def read(folder: Path, rows: Rows, header: str = "id,sequence,label", options: OwnOptions | None = None) -> OwnData:
    return read_own_data(write_csv(folder / "own.csv", header.split(","), rows), options)


def message_of(
    folder: Path, rows: Rows, header: str = "id,sequence,label", options: Mapping[str, object] | None = None
) -> str:
    with pytest.raises(UserError) as caught:
        read(folder, rows, header, OwnOptions(**(options or {})))  # type: ignore[arg-type]  # pyright: ignore
    assert "\n" not in str(caught.value)
    return str(caught.value)


def classes(num: int = 40) -> Rows:
    return [(f"p{n}", sequence, "AB"[n % 2]) for n, sequence in enumerate(proteins(num))]


def test_classes_are_recognised_and_told(tmp_path: Path) -> None:
    found = read(tmp_path, classes())
    assert isinstance(found.data.space, Classes) and found.data.space.names == ("A", "B")
    assert found.data.task.unit == "protein" and found.data.task.metric == "accuracy"
    assert found.description[0] == "labels: classes"
    assert "2 classes: A (20), B (20)" in found.description[1]
    assert {name: len(part) for name, part in found.data.splits.items()} == {"train": 32, "test": 4, "valid": 4}


def test_numbers_are_recognised_and_told(tmp_path: Path) -> None:
    rows = [(name, sequence, n / 7) for n, (name, sequence, _) in enumerate(classes())]
    found = read(tmp_path, rows)
    assert isinstance(found.data.space, Numbers)
    train = np.array(found.data.train.targets)
    assert found.data.space.mean == pytest.approx(train.mean())
    assert "numbers from 0 to 5.57" in found.description[1]


def test_few_whole_numbers_are_classes_unless_said_otherwise(tmp_path: Path) -> None:
    rows = [(name, sequence, n % 2) for n, (name, sequence, _) in enumerate(classes())]
    found = read(tmp_path, rows)
    assert isinstance(found.data.space, Classes) and found.data.space.names == ("0", "1")
    assert "say kind number" in found.description[0]
    assert isinstance(read(tmp_path, rows, options=OwnOptions(kind="number")).data.space, Numbers)


def test_many_whole_numbers_are_numbers(tmp_path: Path) -> None:
    rows = [(name, sequence, n) for n, (name, sequence, _) in enumerate(classes())]
    assert isinstance(read(tmp_path, rows).data.space, Numbers)


def test_class_names_that_are_numbers_stand_in_their_order(tmp_path: Path) -> None:
    rows = [(name, sequence, (2, 10)[n % 2]) for n, (name, sequence, _) in enumerate(classes())]
    space = read(tmp_path, rows).data.space
    assert isinstance(space, Classes) and space.names == ("2", "10")


def test_several_labels_are_recognised(tmp_path: Path) -> None:
    rows = [(name, sequence, "A|B" if n % 3 else "B") for n, (name, sequence, _) in enumerate(classes())]
    found = read(tmp_path, rows)
    assert isinstance(found.data.space, Labels) and found.data.space.names == ("A", "B")
    assert {target.tolist() == [1, 1] for target in found.data.train.targets} == {True, False}


def test_label_strings_are_recognised_and_masked(tmp_path: Path) -> None:
    rows = [(f"p{n}", each, "HE-" * 20, "0" + "1" * 59) for n, each in enumerate(proteins(30))]
    found = read(tmp_path, rows, "id,sequence,label,mask")
    assert found.data.task.unit == "residue"
    assert isinstance(found.data.space, Classes) and found.data.space.names == ("E", "H")
    assert found.data.train.targets[0].tolist() == [-1, 0, -1, *[1, 0, -1] * 19]


def test_fasta_headers_carry_labels(tmp_path: Path) -> None:
    path = tmp_path / "own.fasta"
    path.write_text("".join(f">p{n} OX=9606 label={'AB'[n % 2]} x\n{each}\n" for n, each in enumerate(proteins(40))))
    space = read_own_data(path).data.space
    assert isinstance(space, Classes) and space.names == ("A x", "B x")


def test_parquet_and_tsv_read_the_same_as_csv(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = classes()
    first = read(tmp_path, rows).data
    ids, sequences, labels = zip(*rows, strict=True)
    parquet.write_table(pa.table({"id": ids, "sequence": sequences, "label": labels}), tmp_path / "own.parquet")
    (tmp_path / "own.tsv").write_text(
        "id\tsequence\tlabel\n" + "".join("\t".join(map(str, row)) + "\n" for row in rows)
    )
    for name in ("own.parquet", "own.tsv"):
        assert read_own_data(tmp_path / name, OwnOptions()).data.fingerprint == first.fingerprint


@pytest.mark.parametrize(("name", "mark"), [("own.csv", ";"), ("own.csv", "\t"), ("own.tsv", ","), ("own.txt", "\t")])
def test_other_separators_are_understood(name: str, mark: str, tmp_path: Path) -> None:
    lines = [("id", "sequence", "label"), *classes()]
    (tmp_path / name).write_text("".join(mark.join(map(str, line)) + "\r\n" for line in lines))
    assert len(read_own_data(tmp_path / name).data.train) == 32


def test_whole_numbers_with_a_point_are_classes_too(tmp_path: Path) -> None:
    rows = [(name, sequence, f"{n % 2}.0") for n, (name, sequence, _) in enumerate(classes())]
    space = read(tmp_path, rows).data.space
    assert isinstance(space, Classes) and space.names == ("0.0", "1.0")


def test_sequences_labelled_in_two_ways_are_told(tmp_path: Path) -> None:
    rows = [*classes(), ("x", classes()[0][1], "B")]
    assert read(tmp_path, rows).description[-1] == "1 sequences come several times, with different labels"


def test_splits_of_the_table_are_kept_and_a_missing_valid_is_cut_from_train(tmp_path: Path) -> None:
    rows = [(*row, "test" if n >= 30 else "train") for n, row in enumerate(classes())]
    data = read(tmp_path, rows, "id,sequence,label,split").data
    assert data.splits["test"].ids == tuple(f"p{n}" for n in range(30, 40))
    assert len(data.valid) == 3 and not set(data.valid.ids) & set(data.train.ids)


def test_other_words_for_splits_are_understood(tmp_path: Path) -> None:
    words = ["Training", "dev", "TEST"]
    rows = [(*row, words[max(n - 37, 0) % 3]) for n, row in enumerate(classes())]
    assert {name: len(part) for name, part in read(tmp_path, rows, "id,sequence,label,split").data.splits.items()} == {
        "train": 38,
        "valid": 1,
        "test": 1,
    }


def test_families_are_never_torn_apart(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    rows: list[tuple[object, ...]] = []
    for family, ancestor in enumerate(proteins(12, seed=9, length=120)):
        for member in range(5):
            letters = list(ancestor)
            for at in generator.choice(120, 12, replace=False):
                letters[at] = "A"
            rows.append((f"{family}-{member}", "".join(letters), "AB"[family % 2]))
    data = read(tmp_path, rows, options=OwnOptions(valid=0.2, test=0.2, method="words")).data
    families = {name: {each.split("-")[0] for each in part.ids} for name, part in data.splits.items()}
    assert not families["train"] & families["test"] and not families["train"] & families["valid"]
    assert not families["valid"] & families["test"]
    assert sum(map(len, families.values())) == 12


def test_every_class_stays_to_be_learned(tmp_path: Path) -> None:
    same = proteins(2, seed=4)
    rows = [*classes(30), ("x", same[0], "rare"), ("y", same[1], "rare")]
    for seed in range(12):
        data = read(tmp_path, rows, options=OwnOptions(valid=0.4, test=0.4, seed=seed)).data
        assert isinstance(data.space, Classes)
        assert {int(each) for each in data.train.targets} == {0, 1, 2}


def test_a_sequence_that_is_measured_on_is_not_learned_from(tmp_path: Path) -> None:
    rows = [(*row, "train") for row in classes()]
    rows += [("t1", rows[0][1], "A", "test"), ("t2", proteins(1, seed=8)[0], "B", "test")]
    data = read(tmp_path, rows, "id,sequence,label,split").data
    assert "p0" not in data.train.ids + data.valid.ids
    assert data.notes[0] == "left out of train: 1 proteins whose very sequence is measured on"


def with_row(row: tuple[object, ...], num: int = 40) -> Rows:
    return [*classes(num), row]


GOOD = "ACDEFGHIKLMNPQRSTVWY" * 3


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (classes(), "id,sequences,label", "no column 'sequence'; did you mean sequences?"),
        (classes(), "id,sequence,class", "no column 'label'; it has id, sequence, class"),
        (with_row(("x", GOOD, "C")), "id,sequence,label", "line 42 (x): the only member of class 'C'"),
        (with_row(("x", GOOD, "")), "id,sequence,label", "line 42 (x): has no label"),
        (with_row(("x", "", "A")), "id,sequence,label", "line 42 (x): has no sequence"),
        (with_row(("x", "ACD1EF", "A")), "id,sequence,label", "line 42 (x): residue 4: '1' is no residue"),
        ([(*row[:2], "A") for row in classes()], "id,sequence,label", "all labels are 'A'"),
        ([(*row[:2], f"a{n}") for n, row in enumerate(classes())], "id,sequence,label", "40 different labels"),
        ([*((*row[:2], n / 3) for n, row in enumerate(classes())), ("x", GOOD, "NA")], "id,sequence,label",
         "line 42 (x): label 'NA' is no number, as 40 others are"),
        ([*((*row[:2], "H" * 59 + "E") for row in classes()), ("x", GOOD, "H" * 59)], "id,sequence,label",
         "line 42 (x): 60 residues and a label string of 59 letters"),
        ([*((*row[:2], "H" * 59 + "E", "1" * 60) for row in classes()), ("x", GOOD, "H" * 60, "1" * 61)],
         "id,sequence,label,mask", "line 42 (x): 60 residues and a mask of 61 letters"),
        ([*[(*row, "train") for row in classes()][:-1], (*classes()[-1], "tset")], "id,sequence,label,split",
         "line 41 (p39): split 'tset' is none of train, valid, test"),
        ([(*row, "test") for row in classes()], "id,sequence,label,split", "no row has the split train"),
        ([*((*row, "train") for row in classes()), ("x", GOOD, "C", "test"), ("y", GOOD + "A", "C", "test")],
         "id,sequence,label,split", "line 42 (x): label 'C' of the split test is unknown to train"),
        ([("p1", GOOD, "A", 1)], "id,sequence,label", "line 2: 4 columns where the header has 3"),
        ([], "id,sequence,label", "holds no proteins"),
        ([], "", "is empty; give a table with a header line"),
        (classes(), "id,sequence,sequence", "two columns are named 'sequence'"),
        ([(*row[:2], "Hé" * 30) for row in classes()], "id,sequence,label", "of residues a class is one plain letter"),
    ],
)  # fmt: skip
def test_a_bad_table_is_one_line(rows: Rows, header: str, message: str, tmp_path: Path) -> None:
    assert message in message_of(tmp_path, rows, header)


def test_variants_of_one_protein_are_split_at_random_and_that_is_told(tmp_path: Path) -> None:
    rows = [(f"p{n}", GOOD[:n] + "A" + GOOD[n + 1 :], n / 3) for n in range(1, 60)]
    found = read(tmp_path, rows)
    assert {name: len(part) for name, part in found.data.splits.items()} == {"train": 47, "test": 6, "valid": 6}
    assert "valid and test cut from train at random, since most are relatives" in " ".join(found.description)
    assert "too much alike" in message_of(tmp_path, rows, options={"method": "words"})


def test_equal_sequences_stay_together_at_random(tmp_path: Path) -> None:
    rows = [(f"p{n}", proteins(20)[n % 20], n / 3) for n in range(60)]
    data = read(tmp_path, rows, options=OwnOptions(method="random")).data
    parts = [set(part.sequences) for part in data.splits.values()]
    assert sum(map(len, parts)) == 20


def test_too_few_proteins_to_split_is_one_line(tmp_path: Path) -> None:
    assert "2 proteins are too few" in message_of(tmp_path, [("a", GOOD, 0.5), ("b", GOOD + "A", 1.5)])


def test_other_columns_can_be_named(tmp_path: Path) -> None:
    options = OwnOptions(Columns(sequence="aa", label="y"))
    assert len(read(tmp_path, classes(), "id,aa,y", options).data.train) == 32


def test_unknown_letters_are_read_as_x_when_asked(tmp_path: Path) -> None:
    rows = with_row(("x", GOOD + "J", "A"))
    assert "'J' is no residue" in message_of(tmp_path, rows)
    data = read(tmp_path, rows, options=OwnOptions(Columns(unknown="x"))).data
    assert GOOD + "X" in {each for part in data.splits.values() for each in part.sequences}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"valid": 0.6, "test": 0.5}, "together under 1"),
        ({"identity": 30}, "a share from 0 to 1"),
        ({"kind": "class"}, "not one of auto, classes"),
        ({"method": "blast"}, "not one of auto, words"),
    ],
)
def test_options_that_cannot_be_are_one_line(options: dict[str, object], message: str, tmp_path: Path) -> None:
    assert message in message_of(tmp_path, classes(), options=options)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    for name in ("none.csv", "none.parquet"):
        with pytest.raises(UserError, match="no such file"):
            read_own_data(tmp_path / name)
    with pytest.raises(UserError, match="is a folder"):
        read_own_data(tmp_path)


def test_what_is_no_parquet_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "own.parquet").write_text("id,sequence,label\n")
    with pytest.raises(UserError, match="no Parquet file"):
        read_own_data(tmp_path / "own.parquet")


def test_a_fasta_header_without_a_label_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "own.fasta").write_text(f">p1 label=A\n{GOOD}\n>p2\n{GOOD}\n")
    with pytest.raises(UserError, match=r"line 3 \(p2\): no label=… in the header"):
        read_own_data(tmp_path / "own.fasta")
