"""Designing from one protein: what is hidden and what stays, how results are filtered and ranked."""

from dataclasses import replace
from pathlib import Path

import pytest

from design_samples import PARENT, fresh, save_small
from openankh.design.filters import Filter, Filtering
from openankh.design.masking import Masking, parse_places
from openankh.design.one_settings import RECIPES, OneSettings
from openankh.design.one_writing import ranked, rewritten
from openankh.design.proposal import Proposal
from openankh.errors import UserError
from openankh.generation.residue_rules import ResidueRules
from openankh.loaded import LoadedModel
from openankh.mutation import apply, parse_mutations

LENGTH = len(PARENT.sequence)
SMALL = OneSettings(masks=3, per_mask=2, beams=4, seed=1)


@pytest.fixture(scope="module", params=["openankh", "ankh"])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return fresh(save_small(tmp_path_factory.mktemp("model") / request.param, request.param))


def designs(
    loaded: LoadedModel, masking: Masking, settings: OneSettings = SMALL, rules: ResidueRules | None = None
) -> list[Proposal]:
    return list(rewritten(loaded, PARENT, masking, settings, rules or ResidueRules()))


def changed(proposal: Proposal) -> set[int]:
    pairs = enumerate(zip(proposal.sequence, PARENT.sequence, strict=True), start=1)
    return {place for place, (new, old) in pairs if new != old}


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_only_places_of_the_region_that_are_not_fixed_ever_change(loaded: LoadedModel, share: float) -> None:
    found = designs(loaded, Masking(share, regions=tuple(range(3, 13)), fixed=(5, 6)))
    assert len(found) == 6 and all(changed(each) <= {3, 4, 7, 8, 9, 10, 11, 12} for each in found)
    assert any(changed(each) for each in found)


def test_all_but_fixed_places_are_written_anew(loaded: LoadedModel) -> None:
    fixed = (1, 4, 22)
    found = designs(loaded, Masking(1.0, fixed=fixed), rules=ResidueRules(letters="W"))
    assert all(changed(each) == set(range(1, LENGTH + 1)) - set(fixed) for each in found)
    assert {each.sequence[0] + each.sequence[3] + each.sequence[21] for each in found} == {"MAQ"}


def test_a_mask_hides_its_share_of_what_may_be_hidden() -> None:
    masking = Masking(0.25, regions=tuple(range(1, 21)), fixed=(1, 2, 3, 4))
    drawn = [masking.draw(LENGTH, 0, number).tolist() for number in range(50)]
    assert {len(places) for places in drawn} == {4} and {place for places in drawn for place in places} == set(
        range(4, 20)
    )
    assert len(Masking(0.001).draw(LENGTH, 0, 0)) == 1


def test_more_hidden_places_than_a_window_are_all_written(loaded: LoadedModel) -> None:
    found = designs(loaded, Masking(0.9), replace(SMALL, window=4))
    assert len(found) == 6 and all(len(each.sequence) == LENGTH and each.mean_log_prob for each in found)


def test_a_design_depends_on_its_mask_alone(loaded: LoadedModel) -> None:
    few = designs(loaded, Masking())
    many = designs(loaded, Masking(), replace(SMALL, masks=10))
    assert [each.sequence for each in many[: len(few)]] == [each.sequence for each in few]
    other = designs(loaded, Masking(), replace(SMALL, seed=2))
    assert [each.sequence for each in other] != [each.sequence for each in few]


def test_rules_hold_at_hidden_places_and_mutations_lead_from_the_parent(loaded: LoadedModel) -> None:
    rules = ResidueRules.of(forbid="L", fixed={7: "ST"})
    for each in designs(loaded, Masking(1.0, fixed=(1,)), rules=rules):
        assert each.sequence[6] in "ST" and "L" not in each.sequence
        assert each.mutations is not None
        assert apply(PARENT.sequence, parse_mutations(each.mutations)) == each.sequence
        assert each.identity == pytest.approx(1 - len(changed(each)) / LENGTH)


@pytest.mark.parametrize("rank", ["mean-log-prob", "pseudo-log-likelihood"])
def test_the_best_come_first_named_and_scored(loaded: LoadedModel, rank: str) -> None:
    settings = replace(SMALL, num=4, rank=rank)  # type: ignore[arg-type]
    found = designs(loaded, Masking(), settings)
    best = ranked(found, loaded, PARENT, settings, lambda done: None)
    scores = [each.score for each in best]
    assert [each.id for each in best] == ["P/1", "P/2", "P/3", "P/4"] and scores == sorted(scores, reverse=True)  # type: ignore[type-var]
    assert {each.making.score for each in best} == {rank}
    if rank == "mean-log-prob":
        assert scores[0] == max(each.mean_log_prob or 0 for each in found)
    else:
        expected = loaded.score(PARENT.sequence, [best[0].mutations or ""], method="pseudo-log-likelihood")
        assert scores[0] == pytest.approx(expected[0].raw, abs=1e-4)


def test_filters_tell_what_they_left_out_and_why(loaded: LoadedModel) -> None:
    (first, *_) = designs(loaded, Masking())
    itself = replace(first, sequence=PARENT.sequence, identity=1.0)
    far = replace(first, sequence="W" * LENGTH, identity=0.0)
    filtering = Filtering(Filter(min_identity=0.1, without="W", unique=True))
    kept = list(filtering.of([replace(first, sequence="A" * LENGTH, identity=0.2)] * 2 + [itself, far]))
    assert [each.sequence for each in kept] == ["A" * LENGTH]
    assert filtering.dropped == {"seen before": 1, "the parent itself": 1, "residues": 1}
    short = Filtering(Filter(min_length=LENGTH + 1))
    assert not list(short.of([first])) and short.dropped == {"too short": 1}
    longer = Filtering(Filter(max_length=LENGTH - 1))
    assert not list(longer.of([first])) and longer.dropped == {"too long": 1}


def test_the_recipes_have_the_papers_settings() -> None:
    one, warm = RECIPES["nanobody"](), RECIPES["nanobody-warm"]()
    assert (one.share, one.temperature, one.beams, one.method) == (0.5, 1.0, 30, "beam-sample")
    assert (warm.share, warm.temperature, warm.beams) == (0.4, 1.5, 30)


def test_places_are_read_as_people_write_them() -> None:
    assert parse_places("22, 96-98,22", "--fixed") == (22, 96, 97, 98)
    for text in ("a", "0", "5-3", "1-", "-3", "1;2"):
        with pytest.raises(UserError, match="--fixed"):
            parse_places(text, "--fixed")


@pytest.mark.parametrize(
    ("masking", "rules", "line"),
    [
        (Masking(fixed=(1, 23)), ResidueRules(), "--fixed 23: lies beyond the protein, which has 22 residues"),
        (Masking(regions=(40,)), ResidueRules(), "--region 40: lies beyond"),
        (Masking(regions=(3, 4), fixed=(3, 4)), ResidueRules(), "holds every place"),
        (Masking(), ResidueRules.of(fixed={99: "A"}), "--allow 99: lies beyond"),
        (Masking(), ResidueRules(letters="1"), "'1' is no residue"),
    ],
)
def test_places_that_are_not_there_are_one_line(
    loaded: LoadedModel, masking: Masking, rules: ResidueRules, line: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=line.replace("(", r"\(")):
        designs(loaded, masking, rules=rules)


def test_a_share_that_hides_nothing_is_refused() -> None:
    for share in (0.0, -1.0, 1.5):
        with pytest.raises(UserError, match="--share"):
            Masking(share)
    with pytest.raises(UserError, match="--per-mask 40: more than --beams 30"):
        OneSettings(per_mask=40)
