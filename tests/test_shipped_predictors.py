"""The predictors that come with the package: there, small, of the bundled model, honest, and ready at once."""

import json
from pathlib import Path

import pytest

import openankh
from openankh import cli
from openankh.checkpoint import resolve
from openankh.errors import UserError
from openankh.loaded import load
from openankh.published import BUNDLED
from openankh.tasks import shipped
from openankh.tasks.artifact import load_artifact
from openankh.tasks.named_tasks import task_names
from openankh.tasks.predicting import load_predictor
from openankh.tasks.shipped import FOLDER, predictor_folder, shipped_names, shipped_predictors

NAMES = shipped_names()
SEQUENCE = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQVKVKALPDAQFEVV"


@pytest.fixture(scope="module")
def bundled_sha256() -> str:
    return load(BUNDLED, "cpu", part="encoder").sha256


def test_all_of_them_take_at_most_three_mebibytes() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= 3 << 20


@pytest.mark.parametrize("name", NAMES)
def test_each_is_of_the_bundled_model_and_tells_its_figures_beside_baselines(name: str, bundled_sha256: str) -> None:
    found = load_artifact(FOLDER / name)
    remedy = "the bundled model has changed: run `make predictors`"
    assert found.preprocessing.model == BUNDLED and found.preprocessing.model_sha256 == bundled_sha256, remedy
    assert found.origin.task in task_names()
    tests = {split for split in found.metrics if split.startswith("test")}
    assert tests and found.origin.baselines
    for figures in (found.metrics, *found.origin.baselines.values()):
        for split in tests:
            for metric in figures[split].values():
                assert metric["value"] is None or metric["low"] <= metric["value"] <= metric["high"]
    card = (FOLDER / name / "README.md").read_text(encoding="utf-8")
    assert "## How well" in card and "## Beside what knows less" in card and "heads tried" in card
    assert card.startswith(f"# {name}\n")


@pytest.mark.parametrize("name", NAMES)
def test_each_predicts_offline_by_its_name(name: str) -> None:
    predictor = load_predictor(name)
    one, two = predictor.predict([SEQUENCE, SEQUENCE[:30]])
    assert (one.record.id, two.record.id) == ("1", "2")
    unit, shares = predictor.artifact.config.unit, one.probabilities
    assert shares is not None
    num = len(predictor.artifact.metrics) and len(getattr(predictor.artifact.space, "names", ()))
    shape = {"residue": (len(SEQUENCE), num), "protein": (1, num), "pair": (len(SEQUENCE),) * 2}[unit]
    assert shares.shape in (shape, shape[1:]) and ((shares >= 0) & (shares <= 1)).all()


def test_the_list_tells_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", "--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in listed] == list(NAMES) == [each.name for each in shipped_predictors()]
    assert all("test" in row["tests"] for row in listed)
    assert cli.main(["predict", "--list"]) == 0
    assert NAMES[0] in capsys.readouterr().out


def test_info_tells_what_a_predictor_is(capsys: pytest.CaptureFixture[str]) -> None:
    for name in NAMES:
        assert cli.main(["info", name, "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["kind"] == "predictor" and facts["base_model"] == BUNDLED and facts["mode"] == "frozen"
        assert facts["unit"] in ("residue", "protein", "pair") and facts["metrics"] and len(facts["base_sha256"]) == 64
    assert cli.main(["info", f"../predictors/{NAMES[0]}"]) == 2


def test_names_of_the_package_come_first_and_nearest_names_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / NAMES[0]).mkdir()
    assert predictor_folder(NAMES[0]) == FOLDER / NAMES[0]
    assert predictor_folder(f"./{NAMES[0]}") == Path(NAMES[0])
    assert predictor_folder(Path("some/folder")) == Path("some/folder")
    with pytest.raises(UserError, match=f"did you mean {NAMES[0]}"):
        predictor_folder(NAMES[0][:-1])


def test_a_predictor_of_another_base_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    shutil.copytree(FOLDER / NAMES[0], tmp_path / "moved")
    path = tmp_path / "moved" / "artifact.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    facts["preprocessing"]["model_sha256"] = "0" * 64
    path.write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(UserError, match=r"not the one that .* was trained on") as caught:
        load_predictor(tmp_path / "moved")
    assert "\n" not in str(caught.value)


def test_the_package_brings_them_where_it_is_installed() -> None:
    assert Path(openankh.__file__).parent / "bundled" / "predictors" == shipped.FOLDER
    assert resolve(BUNDLED).parent == shipped.FOLDER.parent
