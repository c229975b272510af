"""Directed design: searches find what exhaustive search finds, walks meet mutants as often as they should."""

import itertools
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from design_samples import PARENT, SumGoal, fresh, save_small
from openankh.design.directed_run import Directed, direct, score_goal
from openankh.design.directed_settings import DirectedSettings
from openankh.design.goal import Judge
from openankh.design.masking import Masking
from openankh.design.metropolis import move, walk
from openankh.design.mutant_space import MutantSpace
from openankh.design.trace import trace_rows
from openankh.errors import UserError
from openankh.fasta import Record
from openankh.generation.residue_rules import ResidueRules
from openankh.loaded import LoadedModel
from openankh.mutation import apply, parse_mutations
from openankh.scoring.method import Method, ScoringOptions

TINY = Record("T", "", "ACD", 1)


def space_of(
    parent: Record = PARENT, letters: str = "ACDEFGHIKLMNPQRSTVWY", fixed: tuple[int, ...] = ()
) -> MutantSpace:
    return MutantSpace.of(parent.sequence, Masking(1.0, fixed=fixed), ResidueRules(letters))


def found_by(
    settings: DirectedSettings,
    goal: SumGoal,
    space: MutantSpace | None = None,
    parent: Record = PARENT,
    minimises: bool = False,
) -> Directed:
    return direct(space or space_of(parent), parent, goal, settings, "m", minimises=minimises)


def exhaustive(space: MutantSpace, goal: SumGoal, budget: int) -> str:
    choices = [letters + space.parent[place] for place, letters in zip(space.places, space.choices, strict=True)]
    mutants = ["".join(letters) for letters in itertools.product(*choices)]
    return max((m for m in mutants if space.num_changes(m) <= budget), key=lambda m: (goal.of(m), m))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return fresh(save_small(tmp_path_factory.mktemp("model") / "openankh"))


@pytest.mark.parametrize("search", ["greedy", "beam", "metropolis"])
def test_all_searches_find_the_best_of_a_small_space(search: str) -> None:
    space, goal = space_of(TINY, "ACDEY"), SumGoal(TINY.sequence)
    settings = DirectedSettings(search, budget=2, steps=300)  # type: ignore[arg-type]
    best = found_by(settings, goal, space, TINY).proposals[0]
    assert goal.of(best.sequence) == pytest.approx(goal.of(exhaustive(space, goal, 2)))
    assert best.mutations is not None and apply(TINY.sequence, parse_mutations(best.mutations)) == best.sequence


def test_beams_find_two_changes_that_help_together_alone() -> None:
    goal = SumGoal("YYY", {(0, 2): 9.0})  # each single change lowers the sum
    parent = Record("Y", "", "YYY", 1)
    greedy = found_by(DirectedSettings("greedy", budget=2), goal, space_of(parent), parent)
    beam = found_by(DirectedSettings("beam", budget=2, beams=20), goal, space_of(parent), parent)
    assert not greedy.steps and max(each.score or 0 for each in greedy.proposals) < 0
    assert beam.proposals[0].mutations == "Y1W:Y3W" and (beam.proposals[0].score or 0) > 8


@pytest.mark.parametrize("search", ["greedy", "beam", "metropolis"])
def test_budget_and_fixed_places_always_hold_and_each_mutant_is_judged_once(search: str) -> None:
    goal, space = SumGoal(PARENT.sequence), space_of(fixed=(1, 5, 20))
    settings = DirectedSettings(search, budget=3, beams=3, steps=200, temperature=0.3)  # type: ignore[arg-type]
    found = found_by(settings, goal, space)
    assert goal.num_asked == len(found.judge.known) == len(found.proposals) + 1
    for each in found.proposals:
        assert 1 <= space.num_changes(each.sequence) <= 3
        assert all(each.sequence[place - 1] == PARENT.sequence[place - 1] for place in (1, 5, 20))


@pytest.mark.parametrize("search", ["greedy", "beam", "metropolis"])
def test_the_same_settings_give_the_same_designs_and_trace(search: str) -> None:
    settings = DirectedSettings(search, budget=2, steps=60)  # type: ignore[arg-type]
    one, other = (found_by(settings, SumGoal(PARENT.sequence)) for _ in range(2))
    assert one.steps == other.steps
    assert [each.sequence for each in one.proposals] == [each.sequence for each in other.proposals]


def test_another_seed_walks_another_way_and_more_chains_leave_the_first_ones_alone() -> None:
    settings = DirectedSettings("metropolis", budget=2, steps=40, chains=2)
    first = found_by(settings, SumGoal(PARENT.sequence)).steps
    assert found_by(replace(settings, seed=1), SumGoal(PARENT.sequence)).steps != first
    more = found_by(replace(settings, chains=5), SumGoal(PARENT.sequence)).steps
    assert [step for step in more if step.chain <= 2] == list(first)


def test_walks_meet_mutants_in_proportion_to_exp_of_score_over_temperature() -> None:
    places = ResidueRules("ACDEY", fixed=((1, "ACY"), (3, "ADE")))  # places with different numbers of letters
    space = MutantSpace.of(TINY.sequence, Masking(1.0), places)
    goal, temperature, budget = SumGoal(TINY.sequence), 0.7, 2
    choices = [letters + space.parent[place] for place, letters in zip(space.places, space.choices, strict=True)]
    allowed = ["".join(m) for m in itertools.product(*choices) if space.num_changes("".join(m)) <= budget]
    weights = {mutant: math.exp(goal.of(mutant) / temperature) for mutant in allowed}
    settings = DirectedSettings("metropolis", budget=budget, steps=6000, chains=4, temperature=temperature)
    counts = Counter[str]()
    chains: dict[int, tuple[int, str]] = dict.fromkeys(range(1, 5), (0, space.parent))
    for step in walk(space, Judge(goal), settings):
        since, state = chains[step.chain]
        counts[state] += step.number - since
        chains[step.chain] = (step.number, step.after)
    for since, state in chains.values():
        counts[state] += settings.steps - since
    total, whole = sum(counts.values()), sum(weights.values())
    assert set(counts) == set(allowed)
    distance = sum(abs(counts[mutant] / total - weights[mutant] / whole) for mutant in allowed) / 2
    assert distance < 0.04


def test_the_way_back_of_an_exchange_is_weighed() -> None:
    rules = ResidueRules("ACDEY", fixed=((1, "AC"), (3, "ADEY")))
    space = MutantSpace.of("ACD", Masking(1.0, fixed=(2,)), rules)
    chance = np.random.default_rng(0)
    ratios = {}
    for _ in range(200):
        found = move(space, "CCD", 1, chance)
        ratios[found.sequence] = found.log_ratio
    assert ratios["ACA"] == pytest.approx(math.log(3))  # three letters there, one here


def test_less_is_better_where_that_is_asked_for() -> None:
    settings = DirectedSettings("greedy", budget=1)
    best = found_by(settings, SumGoal(TINY.sequence), space_of(TINY), TINY, minimises=True).proposals[0]
    assert best.mutations == "D3A" and best.score == pytest.approx(-0.2)


def test_the_trace_leads_from_the_parent_step_by_step() -> None:
    found = found_by(DirectedSettings("metropolis", budget=3, steps=100, chains=3), SumGoal(PARENT.sequence))
    rows = list(trace_rows(found.steps, PARENT.sequence, found.judge))
    states = {}
    for row, step in zip(rows[1:], found.steps, strict=True):
        facts = dict(zip(rows[0], row, strict=True))
        before = states.get(facts["chain"], PARENT.sequence)
        assert step.before == before and apply(before, parse_mutations(facts["change"])) == step.after
        assert float(facts["score"]) == pytest.approx(found.judge.value(step.after), rel=1e-4)
        assert int(facts["num_mutations"]) <= 3
        states[facts["chain"]] = step.after


@pytest.mark.parametrize("method", ["masked-marginal", "pseudo-log-likelihood", "likelihood"])
def test_scores_are_those_of_openankh_score(loaded: LoadedModel, method: Method) -> None:
    goal = score_goal(loaded, PARENT.sequence, ScoringOptions(method))
    variants = ["K2R:A7G", "T3S", "WT"]
    expected = [score.raw for score in loaded.score(PARENT.sequence, variants, method=method)]
    sequences = [apply(PARENT.sequence, parse_mutations(text)) for text in variants]
    assert goal.values(sequences) == pytest.approx(expected, abs=1e-5)


def test_candidates_are_those_that_the_scan_likes_best(loaded: LoadedModel) -> None:
    scan = loaded.scan(PARENT.sequence)
    narrowed = space_of(fixed=(1,)).narrowed(scan, 7)
    best = sorted(((raw, str(m)) for m, raw, _ in scan if m.position > 1), reverse=True)[:7]
    assert narrowed.num_singles == 7
    kept = {
        f"{PARENT.sequence[p]}{p + 1}{x}" for p, ys in zip(narrowed.places, narrowed.choices, strict=True) for x in ys
    }
    assert kept == {name for _, name in best}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"budget": 0}, "--budget 0: a mutant has at least 1 substitution"),
        ({"search": "random"}, "--search random: not one of"),
        ({"temperature": 0.0}, "--temperature 0"),
        ({"steps": 0}, "--steps 0"),
        ({"candidates": -1}, "--candidates -1"),
    ],
)
def test_settings_that_make_no_sense_are_one_line(changes: dict[str, object], line: str) -> None:
    with pytest.raises(UserError, match=line):
        DirectedSettings(**changes)  # type: ignore[arg-type]


def test_a_protein_that_may_not_change_is_refused() -> None:
    with pytest.raises(UserError, match="no residue of the protein may become another"):
        MutantSpace.of("AAA", Masking(1.0), ResidueRules("A"))
