"""Models of the hub: fetched, cached, pinned and refused, by huggingface_hub itself against a hub on this machine."""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file

from hub_server import Hub, laid_out, only_hub
from hugging_face_models import hugging_face_logits, hugging_face_model, quiet_transformers
from model_folders import logits
from openankh import model_names
from openankh.checkpoint import load_model, resolve
from openankh.errors import UserError
from openankh.files import sha256_of
from openankh.hub import cached, cached_commits, origin
from openankh.model_names import locate
from openankh.published import BUNDLED, published_model
from openankh.tokenizer_files import write_tokenizer
from openankh.vocab import ANKH, openankh_vocab

REPOSITORY = "ElnaggarLab/ankh-base"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What transformers saved, in shards, with files of other software beside."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    with quiet_transformers():
        hugging_face_model().save_pretrained(folder, max_shard_size="9KB")
    write_tokenizer(ANKH, folder)
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-sa-4.0\n---\n# A card\n")
    (folder / "tf_model.h5").write_bytes(b"not ours")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle that is not needed")
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with only_hub(tmp_path / "cache", monkeypatch) as hub:
        yield hub


def changed(folder: Path, target: Path, **content: Any) -> Path:
    """A copy of a model folder with some files removed (None) or holding other JSON; __ stands for a dot."""
    shutil.copytree(folder, target)
    for name, value in content.items():
        path = target / name.replace("__", ".")
        path.unlink() if value is None else path.write_text(json.dumps(value))
    return target


def as_pickle(folder: Path, target: Path) -> Path:
    shutil.copytree(folder, target)
    tensors = {name: tensor for shard in target.glob("*.safetensors") for name, tensor in load_file(shard).items()}
    torch.save(tensors, target / "pytorch_model.bin")
    for path in [*target.glob("*.safetensors"), target / "model.safetensors.index.json"]:
        path.unlink()
    return target


def refusal(name: str, **options: Any) -> str:
    """The one line with which a model is refused."""
    with pytest.raises(UserError) as raised:
        locate(name, **options)
    line = str(raised.value)
    assert "\n" not in line and len(line) < 500
    return line


def revision_of(name: str) -> str:
    """The commit that a published name alone means."""
    model = published_model(name)
    assert model is not None and model.revision is not None
    return model.revision


# Fetching


def test_a_published_model_is_fetched_once_and_then_found_here(hub: Hub, saved: Path):
    commit = hub.add(REPOSITORY, saved)
    assert cached(REPOSITORY) is None
    place = locate("ankh-base")
    assert (place.repository, place.commit, place.folder.name) == (REPOSITORY, commit, commit)
    assert place.pinned_name == f"ankh-base@{commit}" and place.source == f"{REPOSITORY}@{commit}"
    loaded = load_model(place.folder)
    torch.testing.assert_close(logits(loaded.model), hugging_face_logits(hugging_face_model()), rtol=1e-5, atol=1e-5)
    asked = len(hub.asked)
    assert (
        resolve("ankh-base") == resolve(REPOSITORY) == resolve(place.pinned_name) == cached(REPOSITORY, revision=commit)
    )
    assert len(hub.asked) == asked


def test_any_repository_of_the_hub_can_be_named(hub: Hub, saved: Path):
    commit = hub.add("ada/tiny-ankh", saved)
    place = locate("ada/tiny-ankh")
    assert (place.name, place.pinned_name, place.published) == ("ada/tiny-ankh", f"ada/tiny-ankh@{commit}", None)
    assert load_model(place.folder).vocab == ANKH


def test_only_what_is_needed_is_fetched(hub: Hub, saved: Path):
    hub.add(REPOSITORY, saved)
    resolve("ankh-base")
    shards = {path.name for path in saved.glob("model-*.safetensors")}
    assert hub.fetched >= {"config.json", "tokenizer.json", "README.md", "model.safetensors.index.json", *shards}
    assert not hub.fetched & {"tf_model.h5", "pytorch_model.bin"}


def test_of_shards_only_those_of_the_encoder_are_fetched_for_it_and_the_others_when_they_are_needed(
    hub: Hub, saved: Path
):
    commit = hub.add(REPOSITORY, saved)
    places = json.loads((saved / "model.safetensors.index.json").read_text())["weight_map"]
    encoder = {file for name, file in places.items() if name.startswith(("encoder.", "shared."))}
    assert encoder < set(places.values())
    folder = resolve("ankh-base", part="encoder")
    assert {name for name in hub.fetched if name.endswith(".safetensors")} == encoder
    loaded = load_model(folder, part="encoder")
    expected = load_model(saved, part="encoder").model.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.model.state_dict().items())
    assert f"only a part of revision {commit} is on this machine" in refusal("ankh-base", offline=True)
    assert resolve("ankh-base", part="encoder", offline=True) == resolve("ankh-base") == folder
    assert hub.fetched >= set(places.values())
    assert all(count == (saved / name).stat().st_size for name, count in hub.sent.items()), "nothing came twice"


def test_a_model_is_the_same_to_stores_whether_its_decoder_is_here_or_not(hub: Hub, saved: Path, tmp_path: Path):
    hub.add(REPOSITORY, saved)
    before = load_model(resolve("ankh-base", part="encoder"), part="encoder").sha256
    after = load_model(resolve("ankh-base"), part="encoder")
    assert before == after.sha256 == load_model(saved, part="encoder").sha256
    assert after.sha256 != load_model(saved).sha256


def test_a_model_published_as_a_pickle_is_fetched_only_when_that_is_trusted_or_its_name_is_known(
    hub: Hub, saved: Path, tmp_path: Path
):
    pickled = as_pickle(saved, tmp_path / "pickled")
    hub.add("ada/tiny-ankh", pickled)
    hub.add(REPOSITORY, pickled)
    line = refusal("ada/tiny-ankh")
    assert "published as a pickle only" in line and "trust_pickle=True, --trust-pickle" in line
    assert "pytorch_model.bin" not in hub.fetched
    for name, trust_pickle in (("ada/tiny-ankh", True), ("ankh-base", False)):
        folder = resolve(name, trust_pickle=trust_pickle)
        assert torch.equal(logits(load_model(folder, trust_pickle=True).model), logits(load_model(saved).model))
    assert "is a pickle only" in refusal("ada/tiny-ankh", offline=True)


# Revisions


def test_branches_tags_and_commits_are_kept_apart_and_found_again_offline(hub: Hub, saved: Path, tmp_path: Path):
    other = changed(saved, tmp_path / "other", generation_config__json={"note": "another commit"})
    first, second = hub.add(REPOSITORY, saved, "main", "v1"), hub.add(REPOSITORY, other, "refs/pr/1")
    for name, commit in [("@v1", first), (f"@{second}", second), ("@refs/pr/1", second), ("", first)]:
        assert locate(f"ankh-base{name}").commit == commit
    for revision, commit in [("v1", first), (second, second), ("refs/pr/1", second), (None, first)]:
        assert locate("ankh-base", revision=revision, offline=True).commit == commit
    assert set(cached_commits(REPOSITORY)) == {first, second}


def test_what_is_cached_stays_in_use_when_the_branch_moves_on_until_the_new_commit_is_named(
    hub: Hub, saved: Path, tmp_path: Path
):
    first = hub.add(REPOSITORY, saved)
    resolve("ankh-base")
    second = hub.add(REPOSITORY, changed(saved, tmp_path / "other", generation_config__json={"note": "newer"}))
    assert locate("ankh-base").commit == first
    assert locate(f"ankh-base@{second}").commit == second
    assert locate("ankh-base").commit == first


def test_a_published_model_with_a_checked_revision_is_taken_at_it(
    hub: Hub, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from dataclasses import replace

    from openankh import published

    checked = hub.add(REPOSITORY, saved)
    newest = hub.add(REPOSITORY, changed(saved, tmp_path / "other", generation_config__json={"note": "newer"}))
    models = tuple(replace(model, revision=checked) for model in published.PUBLISHED[:1])
    monkeypatch.setattr(published, "PUBLISHED", models)
    assert locate("ankh-base").commit == checked
    assert locate("ankh-base@main").commit == newest


@pytest.mark.parametrize(
    ("name", "revision", "message"),
    [
        ("ankh-base@v1", "v2", "asks for revision 'v1' and for 'v2'; name one of them"),
        ("ankh-base@../../x", None, "is no revision"),
        ("ankh-base@", None, "'' is no revision"),
        ("ankh-base", "a b", "'a b' is no revision"),
        ("ada/x@/etc", None, "is no revision"),
        (f"{BUNDLED}@v1", None, "only models of the hub have revisions"),
        (BUNDLED, "v1", "only models of the hub have revisions"),
        ("nano@v1", None, "no such name or folder"),
        ("../x/y", None, "no such name or folder"),
        ("a/../b", None, "no such name or folder"),
    ],
)
def test_what_can_be_no_revision_or_repository_is_refused_before_anything_is_asked(
    hub: Hub, name: str, revision: str | None, message: str
):
    assert message in refusal(name, revision=revision)
    assert hub.asked == []


# What stands in the way


def test_a_gated_model_tells_where_to_ask(hub: Hub, saved: Path):
    hub.add(REPOSITORY, saved)
    hub.gated.add(REPOSITORY)
    assert f"accept their terms at {hub.url}/{REPOSITORY} and log in" in refusal("ankh-base")


def test_an_unknown_repository_revision_or_one_that_is_no_model_is_told_apart(hub: Hub, saved: Path, tmp_path: Path):
    hub.add("ada/tiny-ankh", saved)
    hub.add("ada/data", changed(saved, tmp_path / "data", config__json=None))
    assert "no folder has this name" in refusal("ada/tiny-ank")
    assert "it has no revision 'v9'" in refusal("ada/tiny-ankh@v9")
    assert "it has no config.json" in refusal("ada/data")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config__json": {"model_type": "bert"}}, "model_type is 'bert'; only 't5'"),
        ({"tokenizer__json": None}, "has no tokenizer"),
        ({"tokenizer__json": {}}, "no vocabulary under model.vocab"),
    ],
)
def test_a_model_that_cannot_be_used_is_refused_before_its_weights_are_fetched(
    hub: Hub, saved: Path, tmp_path: Path, change: dict[str, Any], message: str
):
    hub.add("ada/other", changed(saved, tmp_path / "other", **change))
    assert message in refusal("ada/other")
    assert not any(name.endswith(".safetensors") for name in hub.fetched)


def test_a_published_name_with_the_tokenizer_of_another_model_is_refused_before_its_weights_are_fetched(
    hub: Hub, saved: Path, tmp_path: Path
):
    folder = Path(shutil.copytree(saved, tmp_path / "mixed"))
    write_tokenizer(openankh_vocab(), folder)
    hub.add(REPOSITORY, folder)
    line = refusal("ankh-base")
    assert "tokenizer has 256 pieces, as that of Ankh3, its model rows for 144, as Ankh and Ankh2" in line
    assert not any(name.endswith(".safetensors") for name in hub.fetched)


def test_a_repository_with_weights_of_other_software_only_says_which(hub: Hub, saved: Path, tmp_path: Path):
    folder = as_pickle(saved, tmp_path / "flax")
    (folder / "pytorch_model.bin").unlink()
    hub.add("ada/flax", folder)
    line = refusal("ada/flax")
    assert "has no weights as model.safetensors or pytorch_model.bin" in line and "tf_model.h5" in line


def test_without_a_network_the_cache_serves_and_all_else_is_one_line(hub: Hub, saved: Path):
    commit = hub.add(REPOSITORY, saved)
    resolve("ankh-base")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        constants.ENDPOINT = f"http://127.0.0.1:{nobody.getsockname()[1]}"  # restored with the fixture's own change
        assert locate("ankh-base").commit == commit
        line = refusal("ankh-large")
        assert "could not be reached" in refusal(f"ankh-base@{'0' * 40}")
    assert "the hub could not be reached; check the network" in line and "ConnectError" in line


@pytest.mark.parametrize(
    ("status", "message"), [(503, "the hub answers 503; try again"), (429, "the hub answers 429"), (403, "refuses it")]
)
def test_a_hub_that_does_not_serve_is_one_line(hub: Hub, saved: Path, status: int, message: str):
    hub.add(REPOSITORY, saved)
    hub.status = status
    assert message in refusal("ankh-base")


def test_offline_nothing_is_asked_and_the_refusal_names_what_is_here(
    hub: Hub, saved: Path, monkeypatch: pytest.MonkeyPatch
):
    commit = hub.add(REPOSITORY, saved)
    resolve("ankh-base")
    hub.asked.clear()
    line = refusal("ankh-base@v2", offline=True)
    assert f"revision v2 is not on this machine, only {commit}" in line and "--offline or HF_HUB_OFFLINE" in line
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert locate("ankh-base").commit == commit
    assert "it is not on this machine, and" in refusal("ankh2-ext1")
    assert hub.asked == []


def test_a_download_that_breaks_off_is_taken_up_again_by_the_same_command(hub: Hub, saved: Path):
    hub.add(REPOSITORY, saved)
    broken = max(path.name for path in saved.glob("model-*.safetensors"))
    hub.cut_off[broken] = 1000
    assert "the connection broke off; run the same command again" in refusal("ankh-base")
    assert cached(REPOSITORY) is None
    hub.cut_off.clear()
    before = dict(hub.sent)
    folder = resolve("ankh-base")
    assert load_model(folder).vocab == ANKH
    assert hub.sent["config.json"] == before["config.json"], "what had arrived was fetched again"


def test_a_download_that_is_killed_is_taken_up_again(hub: Hub, saved: Path, tmp_path: Path):
    hub.add(REPOSITORY, saved)
    hub.cut_off["model-00002-of-00006.safetensors"] = 1000
    (tmp_path / "cache").mkdir()
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "cache")}
    command = "from openankh.model_names import locate; locate('ankh-base')"
    process = subprocess.Popen([sys.executable, "-c", command], env=environment, stderr=subprocess.DEVNULL)
    assert hub.reached.wait(60)
    process.kill()
    process.wait()
    hub.cut_off.clear()
    torch.testing.assert_close(
        logits(load_model(resolve("ankh-base")).model),
        hugging_face_logits(hugging_face_model()),
        rtol=1e-5,
        atol=1e-5,
    )


def test_weights_that_arrive_damaged_are_removed_and_refused(hub: Hub, saved: Path):
    hub.add(REPOSITORY, saved)
    damaged = min(path.name for path in saved.glob("model-*.safetensors"))
    hub.corrupted.add(damaged)
    assert f"{damaged} arrived damaged (its SHA-256 is not the hub's) and was removed" in refusal("ankh-base")
    assert cached(REPOSITORY) is None
    hub.corrupted.clear()
    assert load_model(resolve("ankh-base")).vocab == ANKH


def test_a_disk_too_small_is_told_before_the_weights_are_fetched(hub: Hub, saved: Path):
    hub.add(REPOSITORY, saved)
    hub.sizes = {path.name: 10**15 for path in saved.glob("model-*.safetensors")}
    line = refusal("ankh-base")
    assert "needs " in line and "free some space or set HF_HOME to another disk" in line
    assert not any(name.endswith(".safetensors") for name in hub.fetched)


def test_a_disk_that_fills_up_in_the_middle_is_one_line(hub: Hub, saved: Path):
    hub.add(REPOSITORY, saved)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, hard))
    try:
        line = refusal("ankh-base")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "file too large" in line and "free some space or set HF_HOME to another disk" in line
    assert load_model(resolve("ankh-base")).vocab == ANKH


def test_a_cache_that_cannot_be_written_to_is_one_line(hub: Hub, saved: Path, tmp_path: Path):
    hub.add(REPOSITORY, saved)
    (tmp_path / "cache").write_text("a file in the place of the folder")
    assert "\n" not in refusal("ankh-base")


# Caches as other software leaves them


def test_a_cache_that_other_software_filled_is_used_without_a_question(hub: Hub, saved: Path, tmp_path: Path):
    names = {path.name for path in saved.iterdir()} - {"README.md", "generation_config.json", "tf_model.h5"}
    commit = revision_of("ankh-base")
    snapshot = laid_out(tmp_path / "cache", REPOSITORY, saved, commit, names - {"pytorch_model.bin"})
    place = locate("ankh-base", offline=True)
    assert (place.folder, place.commit) == (snapshot, commit) and hub.asked == []
    assert place.licence() == "CC-BY-NC-SA-4.0"
    assert load_model(place.folder).vocab == ANKH


def test_what_other_software_left_out_is_added(hub: Hub, saved: Path, tmp_path: Path):
    commit = hub.add(REPOSITORY, saved)
    laid_out(tmp_path / "cache", REPOSITORY, saved, commit, {"config.json", "README.md"})
    assert load_model(resolve("ankh-base")).vocab == ANKH
    assert "tokenizer.json" in hub.fetched and "README.md" not in hub.fetched


def test_a_folder_inside_a_cache_knows_where_it_came_from(hub: Hub, saved: Path, monkeypatch: pytest.MonkeyPatch):
    commit = hub.add(REPOSITORY, saved)
    folder = resolve("ankh-base")
    place = locate(folder)
    assert (place.repository, place.commit, place.pinned_name) == (REPOSITORY, commit, f"ankh-base@{commit}")
    assert not place.is_published, "a path is no name: a pickle in it must be asked for"
    monkeypatch.chdir(folder)
    assert origin(Path(".")) == (REPOSITORY, commit)
    assert origin(saved) is None


def test_every_download_goes_through_a_check_of_what_the_hub_told(
    hub: Hub, saved: Path, monkeypatch: pytest.MonkeyPatch
):
    hub.add(REPOSITORY, saved)
    hashed: list[str] = []
    monkeypatch.setattr("openankh.hub.sha256_of", lambda path: hashed.append(path.name) or sha256_of(path))
    resolve("ankh-base")
    assert set(hashed) == {path.name for path in saved.glob("model-*.safetensors")}


# Names


def test_a_folder_is_itself_even_when_it_has_a_published_name(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ankh-base").mkdir()
    assert resolve("ankh-base") == Path("ankh-base")
    assert resolve(tmp_path) == tmp_path
    assert hub.asked == []


def test_the_bundled_name_is_the_folder_in_the_package_wherever_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / BUNDLED).mkdir()
    (tmp_path / "package" / BUNDLED).mkdir(parents=True)
    monkeypatch.setattr(model_names, "_BUNDLED_FOLDER", tmp_path / "package")
    assert resolve(BUNDLED) == tmp_path / "package" / BUNDLED
    monkeypatch.setattr(model_names, "_BUNDLED_FOLDER", tmp_path / "nothing")
    with pytest.raises(UserError, match="not part of this installation"):
        resolve(BUNDLED)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ankh-bas", "did you mean ankh-base"),
        ("ANKH3-XL", "did you mean ankh3-xl"),
        ("zzz", "known names: openankh-nano, ankh-base"),
        ("x" * 5000, "no such name or folder"),
        ("", "no such name or folder"),
        ("no/such/folder", "no such name or folder"),
        ("a\0b", "no such name or folder"),
    ],
)
def test_a_mistyped_name_is_answered_with_the_nearest(name: str, message: str):
    with pytest.raises(UserError, match=message):
        resolve(name)


def test_a_file_is_no_model(tmp_path: Path):
    (tmp_path / "model.safetensors").write_text("")
    with pytest.raises(UserError, match="a file; name the folder"):
        resolve(tmp_path / "model.safetensors")
