"""The licence of weights is found where it is stated, and told once a process."""

import logging
from pathlib import Path

import pytest

import openankh
from hub_server import laid_out
from model_folders import random_model
from openankh import licence
from openankh.checkpoint import Provenance, save_model
from openankh.licence import is_non_commercial, licence_in_card, tell_licence
from openankh.vocab import ANKH

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CARDS = {
    "---\nlicense: cc-by-nc-sa-4.0\n---\n# Ankh": "cc-by-nc-sa-4.0",
    "---\r\ntags: [a]\r\nlicense: mit\r\n---\r\n": "mit",
    "\ufeff---\nlicense: 'apache-2.0'  # a note\n---\n": "apache-2.0",
    '---\nlicense: "mit"\n---': "mit",
    "---\nlicense:\n- cc-by-4.0\n- mit\n---\n": "cc-by-4.0",
    "---\nlicense: [cc-by-4.0, mit]\n---\n": "cc-by-4.0",
    "---\nlicense: other\nlicense_name: ada-terms\nlicense_link: LICENSE\n---\n": "ada-terms",
    "---\nlicense: other\n---\n": "other",
    "---\nlicense:\nlanguage: en\n---\n": "",
    "---\nmodel:\n  license: mit\n---\n": "",
    "---\ntags: [a]\n---\nlicense: mit\n": "",
    "# No metadata\nlicense: mit\n": "",
    "---\nlicense: mit\n": "",
    "": "",
}


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(licence, "_told", set())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(random_model(), ANKH, tmp_path / "model", Provenance("tiny"))
    (tmp_path / "model" / "openankh.json").unlink()
    return tmp_path / "model"


@pytest.mark.parametrize("card", CARDS)
def test_the_licence_in_a_model_card_is_read(tmp_path: Path, card: str):
    (tmp_path / "README.md").write_bytes(card.encode())
    assert licence_in_card(tmp_path) == CARDS[card]


def test_a_card_that_is_absent_or_cannot_be_read_states_nothing(tmp_path: Path):
    assert licence_in_card(tmp_path) == ""
    (tmp_path / "README.md").write_bytes(b"---\nlicense: mit\n---\n" + b"x" * (5 << 20))
    assert licence_in_card(tmp_path) == ""
    (tmp_path / "README.md").write_bytes(b"---\nlicense: m\xff\n---\n")
    assert licence_in_card(tmp_path) == "m\ufffd"


@pytest.mark.parametrize(
    ("name", "forbids"),
    [
        ("CC-BY-NC-SA-4.0", True),
        ("cc-by-nc-4.0", True),
        ("CC-BY-4.0", False),
        ("mit", False),
        ("ncsa", False),
        ("", False),
    ],
)
def test_licences_against_commercial_use_are_known_by_name(name: str, forbids: bool):
    assert is_non_commercial(name) == forbids


def test_a_licence_is_told_once_a_process_and_louder_when_it_forbids_something(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "openankh")
    for _ in range(3):
        tell_licence("ankh-base", "CC-BY-NC-SA-4.0")
        tell_licence("mine", "MIT")
        tell_licence("ada/x", "")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "ankh-base: its weights are under CC-BY-NC-SA-4.0, which allows no commercial use"),
        ("INFO", "mine: its weights are under MIT"),
        ("INFO", "ada/x: its weights come without a stated licence; ask who made them"),
    ]


def test_a_loaded_model_has_the_licence_of_its_list_its_card_or_of_what_is_known(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "openankh")
    assert openankh.load(folder).licence == "" and not caplog.records
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    assert openankh.load(folder).licence == "mit"
    names = {path.name for path in folder.iterdir()}
    snapshot = laid_out(tmp_path / "cache", "ElnaggarLab/ankh-base", folder, COMMIT, names - {"README.md"})
    assert openankh.load(snapshot).licence == "CC-BY-NC-SA-4.0"
    save_model(random_model(), ANKH, tmp_path / "listed", Provenance("tiny", "Apache-2.0"))
    (tmp_path / "listed" / "README.md").write_text("---\nlicense: mit\n---\n")
    assert openankh.load(tmp_path / "listed").licence == "Apache-2.0"
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "its weights are under mit",
        "its weights are under CC-BY-NC-SA-4.0, which allows no commercial use",
        "its weights are under Apache-2.0",
    ]
