"""Completions: rules are kept, seeds decide, company changes nothing, lengths are those asked for."""

import math
import re
from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generation_samples import completer_of, draw_inputs, draw_records, free_script, reader_of, small_model, vocab_of
from openankh.errors import UserError
from openankh.fasta import Record
from openankh.generation.completion import Completion
from openankh.generation.job import Job
from openankh.generation.likelihood import Question, log_probs, target_log_probs
from openankh.generation.matching import can_match
from openankh.generation.method import Method
from openankh.generation.options import CompletionOptions
from openankh.generation.probabilities import draw, log_softmax, warp
from openankh.generation.randomness import uniforms
from openankh.generation.residue_rules import ResidueRules, parse_fixed
from openankh.generation.stretch import Stretch
from openankh.generation.writer import write
from openankh.vocab import EOS, PAD

HALF = Stretch(keep=0.5)
METHODS = {
    "greedy": Method(),
    "sample": Method("sample", temperature=1.5, top_k=15, top_p=0.9),
    "beam": Method("beam", num_beams=4),
    "beam-sample": Method("beam-sample", temperature=2.0, num_beams=4),
}
RECORDS = draw_records(12, shortest=8)


def shown(completions: list[Completion]) -> list[tuple[str, int, str, float]]:
    return [(c.record.id, c.number, c.sequence, c.mean_log_prob) for c in completions]


@pytest.mark.parametrize("vocab", ["ankh", "openankh"])
@pytest.mark.parametrize("name", METHODS)
def test_a_completion_depends_on_its_protein_alone(name: str, vocab: str) -> None:
    method = METHODS[name]
    completer = completer_of(vocab, HALF, method, num=1 if name == "greedy" else 3, window=10, max_rows=8)
    together = shown(list(completer.complete(RECORDS)))
    backwards = shown(list(completer.complete(RECORDS[::-1])))
    alone = [each for record in RECORDS for each in shown(list(completer.complete([record])))]
    assert sorted(together) == sorted(backwards)
    assert together == alone


def test_many_samples_of_a_protein_are_those_of_few() -> None:
    few, many = (completer_of("openankh", HALF, METHODS["sample"], num=num) for num in (5, 70))
    for record in RECORDS[:2]:
        assert shown(list(many.complete([record])))[:5] == shown(list(few.complete([record])))
    assert len({c.sequence for c in many.complete(RECORDS[:1])}) > 60


@pytest.mark.parametrize("name", ["sample", "beam-sample"])
def test_the_seed_decides_what_is_drawn(name: str) -> None:
    first, again, other = (
        [c.sequence for c in completer_of("openankh", HALF, METHODS[name], num=2, seed=seed).complete(RECORDS)]
        for seed in (1, 1, 2)
    )
    assert first == again and sum(a != b for a, b in zip(first, other, strict=True)) > len(first) // 2


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("vocab", ["ankh", "openankh"])
def test_kept_residues_stay_and_lengths_are_exact(name: str, vocab: str) -> None:
    found = list(completer_of(vocab, HALF, METHODS[name]).complete(RECORDS))
    assert [c.record.id for c in found] == [record.id for record in RECORDS]
    for completion in found:
        truth = completion.record.sequence
        assert completion.kept == int(len(truth) / 2 + 0.5) and len(completion.sequence) == len(truth)
        assert completion.sequence.startswith(truth[: completion.kept]) and not completion.ended
        assert len(completion.log_probs) == len(completion.written) and (completion.log_probs < 0).all()
        assert completion.perplexity == pytest.approx(math.exp(-completion.log_probs.mean()))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("vocab", ["ankh", "openankh"])
def test_rules_are_kept(name: str, vocab: str) -> None:
    rules = ResidueRules.of(forbid="AL", require="wwhc", fixed={45: "kr", 50: "D"})
    found = list(completer_of(vocab, Stretch(keep=5, length=50), METHODS[name], rules, window=20).complete(RECORDS))
    for completion in found:
        written = completion.written
        assert not set("AL") & set(written) and completion.sequence[44] in "KR" and completion.sequence[49] == "D"
        assert Counter(written)["W"] >= 2 and "H" in written and "C" in written


def test_required_residues_that_fill_all_places_are_written_where_they_fit() -> None:
    rules = ResidueRules.of(require="WHCWH", fixed="12=H,14=CW")
    for completion in completer_of("openankh", Stretch(keep=10, length=15), METHODS["sample"], rules).complete(
        [Record("long", "", "MKTAYIAKQRQISFVKSHFS", 1)]
    ):
        assert sorted(completion.written) == sorted("WHCWH")
        assert completion.written[1] == "H" and completion.written[3] in "CW"


@pytest.mark.parametrize("name", METHODS)
def test_a_free_length_ends_by_the_model_and_within_the_limits(name: str) -> None:
    rules = ResidueRules.of(require="W")
    stretch = Stretch(keep=4, min_length=9, max_length=40)
    found = list(completer_of("openankh", stretch, METHODS[name], rules).complete(RECORDS))
    assert all(9 <= len(c.sequence) <= 40 and "W" in c.written for c in found)
    assert all(c.ended or len(c.sequence) == 40 for c in found)
    if name == "sample":
        assert any(c.ended for c in found) and len({len(c.sequence) for c in found}) > 2


def test_windows_of_sentinels_read_what_earlier_ones_wrote() -> None:
    record = Record("P", "", "MKTAYIAKQR", 1)
    in_one = completer_of("ankh", Stretch(length=40), window=30)
    first_window = completer_of("ankh", Stretch(length=22), window=12)
    by_windows = completer_of("ankh", Stretch(length=40), window=12)
    (whole,), (begun,), (windowed,) = (
        list(completer.complete([record])) for completer in (in_one, first_window, by_windows)
    )
    assert windowed.sequence.startswith(begun.sequence)
    (rest,) = completer_of("ankh", Stretch(length=40), window=12).complete([Record("Q", "", begun.sequence, 1)])
    assert rest.sequence == windowed.sequence and len(whole.sequence) == 40


def test_more_residues_than_there_are_sentinels_can_be_written() -> None:
    (found,) = completer_of("ankh", Stretch(length=300), METHODS["sample"]).complete([Record("P", "", "MKTAY", 1)])
    assert len(found.sequence) == 300 and np.isfinite(found.log_probs).all()


def test_log_probabilities_are_those_of_the_forced_completion() -> None:
    vocab, reader = vocab_of("openankh"), reader_of(small_model("openankh"))
    found = list(completer_of("openankh", HALF, METHODS["sample"]).complete(RECORDS))
    prompts = [vocab.encode(c.sequence[: c.kept]).astype(np.int64) for c in found]
    questions = [
        Question(np.concatenate([[vocab.prefix_id("[S2S]")], prompt, [EOS]]), vocab.encode(c.written).astype(np.int64))
        for prompt, c in zip(prompts, found, strict=True)
    ]
    for completion, forced in zip(found, target_log_probs(reader, questions, most_tokens=100), strict=True):
        assert np.allclose(completion.log_probs, forced, atol=1e-4)
    for question, rows in zip(questions, log_probs(reader, questions), strict=True):
        assert rows.shape == (len(question.targets), vocab.size) and np.allclose(np.exp(rows).sum(1), 1, atol=1e-4)


def test_the_best_hypothesis_of_a_search_over_all_is_the_likeliest_text() -> None:
    """With as many beams as there are texts nothing is lost: beam search is then exhaustive."""
    model = small_model("openankh")
    reader, letters, length = reader_of(model), vocab_of("openankh").encode("ALG").astype(np.int64), 3
    inputs = draw_inputs(1)[0]
    script = free_script(length, model.config.vocab_size)
    script.masks[:] = False
    script.masks[:, letters] = True
    found = next(write(reader, [Job(inputs, script, 27)], Method("beam", num_beams=27)))
    texts = [np.array(text) for text in product(letters.tolist(), repeat=length)]
    sums = [float(each.sum()) for each in target_log_probs(reader, [Question(inputs, text) for text in texts])]
    best = sorted(range(27), key=lambda number: -sums[number])
    assert [w.tokens.tolist() for w in found] == [texts[number].tolist() for number in best]


def test_draws_follow_the_warped_probabilities() -> None:
    logits = np.log(np.array([[0.4, 0.3, 0.2, 0.1]], np.float32))
    for method, expected in (
        (Method("sample"), [0.4, 0.3, 0.2, 0.1]),
        (Method("sample", temperature=0.5), np.array([16, 9, 4, 1]) / 30),
        (Method("sample", top_k=2), [4 / 7, 3 / 7, 0, 0]),
        (Method("sample", top_p=0.75), [4 / 9, 3 / 9, 2 / 9, 0]),
        (Method("sample", top_p=0.69), [4 / 7, 3 / 7, 0, 0]),
    ):
        warped = np.repeat(warp(log_softmax(logits), method), 20_000, axis=0)
        tokens = draw(warped, uniforms(np.array([7], np.uint64), np.arange(20_000)))
        assert np.allclose(np.bincount(tokens, minlength=4) / 20_000, expected, atol=0.012)


def test_beam_sampling_draws_without_replacement_by_probability() -> None:
    """Of one choice and one beam, the result is a draw; of several, the results differ."""
    model = small_model("openankh")
    reader, inputs, script = (
        reader_of(model),
        draw_inputs(1)[0],
        free_script(1, model.config.vocab_size),
    )
    expected = np.exp(next(log_probs(reader, [Question(inputs, np.array([PAD]))]))[0])
    jobs = [Job(inputs, script, 1, seed) for seed in range(4_000)]
    tokens = [results[0].tokens[:1] for results in write(reader, jobs, Method("beam-sample", num_beams=1))]
    counts = np.bincount(np.concatenate(tokens), minlength=len(expected))
    likely = np.argsort(-expected)[:3]
    found = counts[likely] / 4_000
    assert np.allclose(found[likely != EOS], expected[likely][likely != EOS], atol=0.04)
    several = next(write(reader, [Job(inputs, script, 8)], Method("beam-sample", num_beams=8)))
    assert len({tuple(written.tokens.tolist()) for written in several}) == 8


@given(st.lists(st.lists(st.integers(0, 5), max_size=4), max_size=5))
@settings(deadline=None, max_examples=200)
def test_a_matching_is_found_exactly_where_there_is_one(places: list[list[int]]) -> None:
    exists = any(len(set(chosen)) == len(places) for chosen in product(*places))
    assert can_match(places) == exists


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: Stretch(keep=0), "keep 0: give a share"),
        (lambda: Stretch(keep=1.5), "keep 1.5: give a share"),
        (lambda: Stretch(length=0), "length 0: must be at least 1"),
        (lambda: Stretch(length=9, max_length=10), "length and min/max length"),
        (lambda: Stretch(min_length=9, max_length=8), "min length 9 is more than max length 8"),
        (lambda: Method("best"), "method 'best': not one of"),  # type: ignore[arg-type]  # pyright: ignore
        (lambda: Method(temperature=0), "temperature 0: must lie"),
        (lambda: Method(temperature=math.nan), "temperature nan: must lie"),
        (lambda: Method(top_k=-1), "top-k -1"),
        (lambda: Method(top_p=0), "top-p 0"),
        (lambda: Method(num_beams=0), "0 beams"),
        (lambda: CompletionOptions(num=0), "0 completions"),
        (lambda: CompletionOptions(num=2), "greedy gives one"),
        (lambda: CompletionOptions(num=11, method=Method("beam")), "11 completions of 10 beams"),
        (lambda: CompletionOptions(task="fill"), "task 'fill'"),  # type: ignore[arg-type]  # pyright: ignore
        (lambda: CompletionOptions(seed=1 << 70), "seed"),
        (lambda: parse_fixed("12H"), "fixed place '12H': write PLACE=LETTERS"),
        (lambda: parse_fixed("1=A,1=C"), "fixed place 1: is given twice"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_one_line(make: object, line: str) -> None:
    with pytest.raises(UserError, match=re.escape(line)) as caught:
        make()  # type: ignore[operator]  # pyright: ignore
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("vocab", "stretch", "rules", "sequence", "line"),
    [
        ("openankh", HALF, {}, "M", "record 'P': has 1 residue"),
        ("openankh", HALF, {}, "", "record 'P': has no residues"),
        ("openankh", Stretch(keep=9), {}, "MKTA", "of which 9 cannot be kept"),
        ("openankh", Stretch(length=4), {}, "MKTAY", "5 residues are kept, so a length of 4"),
        ("openankh", Stretch(length=1_000_000), {}, "MKTAY", "100,000 are the most"),
        ("openankh", HALF, {}, "M*KA", "record 'P': column 2"),
        ("ankh", Stretch(), {}, "MKTA", "by sentinels writes an exact number"),
        ("openankh", HALF, {"forbid": "1"}, "MKTA", "forbid: '1' is no residue"),
        ("openankh", HALF, {"letters": "AC", "forbid": "CA"}, "MKTA", "no residue is left"),
        ("openankh", HALF, {"letters": "AC", "require": "W"}, "MKTA", "required residue W"),
        ("openankh", HALF, {"require": "WWW"}, "MKTA", "the 3 required residues do not fit into the 2"),
        ("openankh", HALF, {"fixed": {0: "A"}}, "MKTA", "fixed place 0: places are counted from 1"),
        ("openankh", HALF, {"fixed": {3: "A"}, "forbid": "A"}, "MKTA", "fixed place 3: A is forbidden"),
        ("openankh", HALF, {"fixed": {2: "A"}}, "MKTA", "place 2 is fixed as A, but K stands there"),
        ("openankh", HALF, {"fixed": {9: "A"}}, "MKTA", "place 9 is fixed, but the protein becomes 4 long"),
    ],
)
def test_what_cannot_be_completed_is_told_in_one_line(
    vocab: str, stretch: Stretch, rules: dict, sequence: str, line: str
) -> None:
    with pytest.raises(UserError, match=re.escape(line)) as caught:
        list(completer_of(vocab, stretch, rules=ResidueRules.of(**rules)).complete([Record("P", "", sequence, 1)]))
    assert "\n" not in str(caught.value)


def test_s2s_is_refused_where_the_model_has_it_not() -> None:
    with pytest.raises(UserError, match="no \\[S2S\\]"):
        completer_of("ankh", HALF, task="s2s")


def test_records_are_taken_as_they_are_needed() -> None:
    taken: list[int] = []

    def records():
        for number, record in enumerate(draw_records(2_000, shortest=4, longest=10)):
            taken.append(number)
            yield record

    found = completer_of("openankh", HALF, max_rows=4).complete(records())
    next(found)
    assert len(taken) < 200
