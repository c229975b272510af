"""Designing from a family: what is learned and what is not, what is held out, what is written."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from design_samples import family_members, fresh, save_small
from generation_samples import vocab_of
from openankh.checkpoint import load_model
from openankh.design.adaptation import adapt
from openankh.design.continuation_objective import FamilyObjective
from openankh.design.family import Family, Split, long_enough, read_family, split
from openankh.design.family_prompts import prompts
from openankh.design.family_run import FamilyFolder, FamilyTask, adapt_and_save, require_same, write_at
from openankh.design.family_settings import RECIPES, FamilySettings, Tune, settings_of
from openankh.design.filters import Filter, Filtering
from openankh.design.screening import Screening
from openankh.errors import UserError
from openankh.vocab import EOS, PAD

SMALL = FamilySettings(
    epochs=1, batch=4, length=30, prompt=5, holdout=0.2, num=6, beams=3, learning_rate=1e-2, warmup=0.0
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_small(tmp_path_factory.mktemp("model") / "openankh")


@pytest.fixture(scope="module")
def ankh_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_small(tmp_path_factory.mktemp("model") / "ankh", "ankh")


def members_of(num: int = 20) -> Split:
    found = family_members(num)
    return Split(found[4:], found[:4])


def weights_after(folder: str, settings: FamilySettings) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    loaded = fresh(folder)
    before = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    adapt(loaded.model, loaded.vocab, members_of(), settings)
    return before, loaded.model.state_dict()


@pytest.mark.parametrize("tune", ["decoder", "lora", "full"])
def test_only_what_is_tuned_changes_and_the_weights_keep_their_names(folder: str, tune: Tune) -> None:
    before, after = weights_after(folder, replace(SMALL, tune=tune))
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    of_decoder = {name for name in before if name.startswith(("decoder.", "lm_head."))}
    if tune == "decoder":
        assert changed <= of_decoder and len(changed) > len(of_decoder) / 2
    elif tune == "lora":
        assert changed == {name for name in before if name.endswith((".q.weight", ".v.weight"))}
    else:
        assert "shared.weight" in changed and any(name.startswith("encoder.") for name in changed)


def test_adapting_lowers_the_loss_on_members_held_out_and_keeps_the_best_epoch(folder: str) -> None:
    loaded = fresh(folder)
    found = adapt(loaded.model, loaded.vocab, members_of(60), replace(SMALL, epochs=3))
    losses = [epoch.held_out_loss for epoch in found.history]
    assert [epoch.number for epoch in found.history] == [0, 1, 2, 3] and None not in losses
    assert losses[found.best_epoch] == min(losses[1:]) < losses[0]  # type: ignore[type-var, operator]  # pyright: ignore
    again = adapt(loaded.model, loaded.vocab, members_of(60), replace(SMALL, epochs=1, learning_rate=1e-9))
    assert again.history[0].held_out_loss == pytest.approx(losses[found.best_epoch], rel=1e-5)


def test_the_same_seed_gives_the_same_weights_and_nobody_elses_chance_is_touched(folder: str) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    (_, one), (_, other) = (weights_after(folder, replace(SMALL, tune="lora")) for _ in range(2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_each_member_is_learned_once_an_epoch_in_steps_of_a_batch(folder: str) -> None:
    loaded, told = fresh(folder), list[int]()
    found = adapt(loaded.model, loaded.vocab, members_of(21), SMALL, lambda step, steps, loss: told.append(step))
    assert told == list(range(1, 6)) and found.num_steps == 5  # 17 members in batches of 4
    assert found.num_residues == 17 * (30 - 5)


def test_a_member_that_is_cut_does_not_teach_where_to_end() -> None:
    vocab = vocab_of("openankh")
    long, short = (family_members(1, length)[0] for length in (12, 8))
    pairs = FamilyObjective(vocab, prompt=3, length=10).pairs([long, short])
    ids = [vocab.encode(each.sequence).astype(np.int64) for each in (short, long)]
    assert pairs.inputs[0].tolist() == [vocab.prefix_id("[S2S]"), *ids[0][:3], EOS]
    assert pairs.targets[0].tolist() == [*ids[0][3:], EOS]
    assert pairs.targets[1].tolist() == [*ids[1][3:10], PAD]
    assert pairs.decoder_inputs[1].tolist() == [PAD, *ids[1][3:10]]


def test_a_vocabulary_without_the_prefix_learns_the_same_without_it() -> None:
    vocab = vocab_of("ankh")
    (member,) = family_members(1, 8)
    pairs = FamilyObjective(vocab, prompt=3, length=10).pairs([member])
    assert pairs.inputs[0].tolist() == [*vocab.encode(member.sequence[:3]).tolist(), EOS]


def test_groups_are_held_out_whole_and_nobody_is_lost() -> None:
    members = family_members(40)
    groups = tuple(str(number % 8) for number in range(40))
    found = split(Family("f", members, groups), 0.25, seed=3)
    assert len(found.held_out) == 10 and {*found.learned, *found.held_out} == set(members)
    of_member = dict(zip(members, groups, strict=True))
    assert not {of_member[each] for each in found.learned} & {of_member[each] for each in found.held_out}


def test_equal_members_are_on_one_side() -> None:
    members = family_members(10) * 3
    found = split(Family("f", members), 0.3, seed=0)
    assert not {each.sequence for each in found.learned} & {each.sequence for each in found.held_out}


def test_each_beginning_comes_once_before_any_comes_again() -> None:
    members = family_members(9, 20)
    num = len({member.sequence[:6] for member in members})
    found = [prompt.residues for prompt in prompts(members, 6, 2 * num + 1, seed=1)]
    assert len(set(found[:num])) == len(set(found[num : 2 * num])) == num
    assert found[:num] != found[num : 2 * num]


def run_of(root: Path, model: str, settings: FamilySettings) -> tuple[FamilyFolder, FamilyTask]:
    place, task = FamilyFolder(root), FamilyTask.of(Family("f", family_members(20)), settings)
    adapt_and_save(place, task, fresh(model), lambda step, steps, loss: None)
    return place, task


@pytest.mark.parametrize("vocab", ["openankh", "ankh"])
def test_designs_begin_with_a_held_out_member_and_tell_how_they_were_made(
    vocab: str, folder: str, ankh_folder: str, tmp_path: Path
) -> None:
    place, task = run_of(tmp_path / "run", folder if vocab == "openankh" else ankh_folder, SMALL)
    loaded = fresh(str(place.model))
    told: list[int] = []
    found = write_at(place, task, loaded, 1.5, Filtering(Filter()), Screening(), told.append)
    assert found.proposals == 6 and told == list(range(1, 7))
    records = list(read_family(str(found.file), loaded.vocab).members)
    beginnings = {member.sequence[:5]: member.id for member in task.members.held_out}
    for record in records:
        facts = dict(word.split("=", 1) for word in record.description.split())
        assert record.sequence[:5] in beginnings and len(record.sequence) <= 30
        assert int(facts["length"]) == len(record.sequence) and facts["kept"] == "5"
        assert facts["method"] == "beam-sample3,t=1.5" and facts["temperature"] == "1.5"
        assert float(facts["mean_log_prob"]) < 0 and facts["model"] == "run/model"
    assert len({record.sequence for record in records}) == 6  # a second round is drawn anew
    write_at(place, task, loaded, 1.5, Filtering(Filter()), Screening(), told.append)
    assert [record.sequence for record in read_family(str(found.file), loaded.vocab).members] == [
        record.sequence for record in records
    ]


def test_a_model_that_knows_neither_prefix_nor_family_writes_by_sentinels_to_the_full_length(
    ankh_folder: str, tmp_path: Path
) -> None:
    task = FamilyTask.of(Family("f", family_members(20)), replace(SMALL, epochs=0, num=3))
    place, loaded = FamilyFolder(tmp_path / "run"), fresh(ankh_folder)
    found = write_at(place, task, loaded, 1.0, Filtering(Filter()), Screening(), lambda done: None)
    records = read_family(str(found.file), loaded.vocab).members
    assert [len(record.sequence) for record in records] == [30, 30, 30]


def test_an_adapted_model_is_an_ordinary_one_that_tells_what_it_was_adapted_to(folder: str, tmp_path: Path) -> None:
    place, task = run_of(tmp_path / "run", folder, SMALL)
    checkpoint = load_model(place.model)
    assert checkpoint.provenance is not None and checkpoint.provenance.licence == "CC-BY-4.0"
    training = checkpoint.provenance.training
    assert training["learned"] == 16 and training["held_out"] == 4 and training["settings"]["tune"] == "decoder"
    assert json.loads(place.record.read_text())["history"][0]["number"] == 0
    assert place.held_out.read_text().count(">") == 4
    require_same(place, task, fresh(folder).pinned_name)


def test_a_run_goes_on_only_with_the_settings_it_was_begun_with(folder: str, tmp_path: Path) -> None:
    place, task = run_of(tmp_path / "run", folder, SMALL)
    name = fresh(folder).pinned_name
    require_same(place, replace(task, settings=replace(SMALL, num=3, temperatures=(2.0,))), name)
    with pytest.raises(UserError, match=r"learning rate 0\.01, not 0\.1"):
        require_same(place, replace(task, settings=replace(SMALL, learning_rate=0.1)), name)
    with pytest.raises(UserError, match="another model"):
        require_same(place, task, "other")
    other = FamilyTask.of(Family("f", family_members(20, seed=5)), SMALL)
    with pytest.raises(UserError, match="another family sha256"):
        require_same(place, other, name)


def test_the_recipe_has_the_papers_settings() -> None:
    found = RECIPES["mdh"]()
    assert (found.tune, found.epochs, found.learning_rate, found.batch, found.length) == ("decoder", 2, 3e-4, 4, 256)
    assert (found.prompt, found.beams, found.temperatures, found.num) == (20, 10, (1.0, 1.5, 2.0), 500)
    assert found.method == "beam-sample" and settings_of("mdh", {"epochs": 1, "num": None}) == replace(found, epochs=1)


def test_members_no_longer_than_the_prompt_are_counted_and_left_out() -> None:
    members = (*family_members(3, 20), *family_members(2, 5))
    found, num = long_enough(Family("f", members), 5)
    assert (len(found.members), num) == (3, 2)
    with pytest.raises(UserError, match="longest member has 20 residues"):
        long_enough(Family("f", members), 20)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"tune": "all"}, "--tune all: not one of"),
        ({"batch": 0}, "--batch 0: must be at least 1"),
        ({"learning_rate": 0.0}, "--learning-rate 0.0"),
        ({"temperatures": ()}, "give one or more"),
        ({"temperatures": (0.0,)}, "temperature 0.0"),
        ({"prompt": 600}, "leaves nothing to write"),
        ({"holdout": 0.0}, "no member is left for prompts"),
        ({"holdout": 1.0}, "give a share"),
        ({"tune": "lora", "lora_rank": 0}, "LoRA r 0"),
        ({"min_length": 900}, "more than --length"),
        ({"optimiser": "sgd", "epochs": 1}, "sgd"),
    ],
)
def test_settings_that_make_no_sense_are_one_line(changes: dict[str, object], line: str) -> None:
    with pytest.raises(UserError) as caught:
        settings_of(None, changes).optimiser_settings  # noqa: B018
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_a_recipe_that_is_unknown_is_named() -> None:
    with pytest.raises(UserError, match="--recipe nope: not one of mdh"):
        settings_of("nope", {})
