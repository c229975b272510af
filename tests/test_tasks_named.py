"""Tasks that come with the package: small files, all readable, all with data; unknown words are one line."""

from pathlib import Path

import pytest

import openankh.tasks
from openankh.errors import UserError
from openankh.tasks.data_folder import DataFolder
from openankh.tasks.loading import load_task
from openankh.tasks.named_tasks import all_tasks, find_task, task_names
from openankh.tasks.target_space import Classes, Labels
from openankh.tasks.task import read_task

DEFINITIONS = sorted((Path(openankh.tasks.__file__).parent / "definitions").glob("*.toml"))
MINIMAL = """
title = "A task"
unit = "protein"
target = "classes"
metrics = ["accuracy"]
citation = "ours"
[[sources]]
file = "a.csv"
label = "label"
split = "train"
"""
SIZES = {
    "annotation-transfer": {"lookup": 14942, "valid": 200, "test": 219},
    "contact-ca": {"train": 21030, "valid": 1600, "test": 2988},
    "fluorescence": {"train": 20959, "valid": 5239, "test": 25517},
    "fold": {"train": 11266, "valid": 456, "test": 397},
    "gb1-sampled": {"train": 6289, "valid": 699, "test": 1745},
    "gb1-two-vs-rest": {"train": 381, "valid": 43, "test": 8309},
    "localisation": {"train": 8894, "valid": 1655, "test": 2768},
    "secondary-structure-q3": {"train": 9710, "valid": 1079, "test_new364": 364, "test_cb513": 511},
    "solubility": {"train": 5942, "valid": 1000, "test": 2001},
}


def test_the_tasks_of_the_papers_are_there() -> None:
    assert task_names() == (
        "annotation-transfer",
        "contact-ca",
        "contact-cb",
        "fluorescence",
        "fold",
        "gb1-sampled",
        "gb1-two-vs-rest",
        "localisation",
        "localisation-multi",
        "paratope",
        "secondary-structure-q3",
        "secondary-structure-q8",
        "solubility",
    )


@pytest.mark.parametrize("path", DEFINITIONS, ids=lambda path: path.stem)
def test_a_definition_is_short_and_complete(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 60
    task = read_task(path)
    assert task.name == path.stem and task.title and task.citation
    assert not task.is_trained or task.metric != "transfer"


def test_the_documentation_names_every_task_and_every_file(repository: Path) -> None:
    page = (repository / "docs" / "data.md").read_text()
    for task in all_tasks():
        assert f"`{task.name}`" in page
        assert all(f"`{file}`" in page for file in task.files), task.files


def test_the_definition_shown_is_one(repository: Path, tmp_path: Path) -> None:
    page = (repository / "docs" / "data.md").read_text()
    (tmp_path / "mine.toml").write_text(page.partition("```toml\n")[2].partition("```")[0])
    task = find_task(tmp_path / "mine.toml")
    assert task.title == "Binding residues" and task.metric == "auc"


@pytest.mark.parametrize("name", SIZES)
def test_the_real_data_has_the_known_sizes(name: str, shared_data: Path) -> None:
    data = load_task(find_task(name), DataFolder(shared_data))
    assert {split: len(examples) for split, examples in data.splits.items()} == SIZES[name]
    assert not data.notes


def test_fold_has_1194_classes(shared_data: Path) -> None:
    space = load_task(find_task("fold"), DataFolder(shared_data)).space
    assert isinstance(space, Classes) and len(space.names) == 1194


def test_antibodies_that_are_measured_on_are_not_learned_from(shared_data: Path) -> None:
    data = load_task(find_task("paratope"), DataFolder(shared_data))
    assert not set(data.train.sequences) & {each for test in data.tests.values() for each in test.sequences}
    assert [note.split(":")[0] for note in data.notes] == ["left out of valid", "left out of train"]


def test_c_beta_contacts_come_from_the_structures(shared_data: Path) -> None:
    data = load_task(find_task("contact-cb"), DataFolder(shared_data))
    assert sum(map(len, data.splits.values())) <= 246 and min(map(len, data.splits.values())) > 10
    for sequence, xyz_L3 in zip(data.train.sequences, data.train.targets, strict=True):
        assert xyz_L3.shape == (len(sequence), 3)


def test_places_of_proteins_are_several_labels_cut_alike_every_time(shared_data: Path) -> None:
    one, other = (load_task(find_task("localisation-multi"), DataFolder(shared_data)) for _ in range(2))
    assert isinstance(one.space, Labels)
    assert max(int(target.sum()) for target in one.train.targets) >= 3
    assert one.fingerprint == other.fingerprint
    ids = [{name: part.ids for name, part in data.splits.items()} for data in (one, other)]
    assert ids[0] == ids[1] and one.notes == (
        "valid and test cut from train by clusters of sequences that share words",
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("unit", "units"), "unknown key units; did you mean unit?"),
        (('file = "a.csv"', ""), "sources is incomplete"),
        (("split =", "spilt ="), "unknown key sources.spilt; did you mean split?"),
        (('"protein"', '"chain"'), "unit 'chain' is not one of residue, pair, protein"),
        (('["accuracy"]', '["recall"]'), "metric 'recall' is not one of"),
        (('title = "A task"', ""), "incomplete"),
        (('split = "train"', ""), "a.csv needs split or split_column"),
        (("title", "title ="), "not a task in TOML"),
        (("[[sources]]", "[sources]"), "sources is one table"),
        (('"classes"', '"contacts"'), "contacts, and they alone"),
    ],
)
def test_a_definition_with_a_mistake_is_one_line(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINIMAL)
    assert find_task(path).name == "mine"
    path.write_text(MINIMAL.replace(*change, 1))
    with pytest.raises(UserError) as caught:
        read_task(path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_an_unknown_task_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean solubility"):
        find_task("solubilty")
