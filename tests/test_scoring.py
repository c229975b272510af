"""Variant effects: the numbers are those the definition gives, by every method; windows, calibration, refusals."""

import math

import numpy as np
import pytest
import torch

from generation_samples import draw_records, reader_of, small_model, vocab_of
from openankh.attention import Documents
from openankh.errors import UserError
from openankh.generation.likelihood import Question, target_log_probs
from openankh.scoring.background import STANDARD, Background
from openankh.scoring.masked import MaskedResidues
from openankh.scoring.method import METHODS, Method, ScoringOptions
from openankh.scoring.scan import COLUMNS
from openankh.scoring.scorer import Scorer
from openankh.scoring.window import Window
from openankh.vocab import EOS, PAD

PROTEIN = draw_records(1, 30, 30)[0].sequence


def scorer_of(vocab: str, method: Method = "masked-marginal", window: int = 1022) -> Scorer:
    return Scorer(reader_of(small_model(vocab)), vocab_of(vocab), ScoringOptions(method, window))


def substituted(sequence: str, position: int, letter: str) -> str:
    return sequence[: position - 1] + letter + sequence[position:]


def single(position: int, letter: str) -> str:
    return f"{PROTEIN[position - 1]}{position}{letter}"


def expected_by_the_network(vocab_name: str, inputs: list[int], targets: list[int]) -> np.ndarray:
    """Log-probabilities (T, V) by the network itself, one question alone."""
    model = small_model(vocab_name)
    with torch.no_grad():
        sources, documents = Documents((0, len(inputs))), Documents((0, len(targets)))
        memory_SD = model.encode(torch.tensor(inputs), sources).last_TD
        shifted = torch.tensor([PAD, *targets[:-1]])
        return model.decode(shifted, documents, memory_SD, sources).log_softmax(-1).double().numpy()


def front(vocab_name: str, prefix: str) -> list[int]:
    vocab = vocab_of(vocab_name)
    return [vocab.prefix_id(prefix)] if vocab.has_prefix(prefix) else []


@pytest.mark.parametrize("vocab_name", ["ankh", "openankh"])
def test_masked_marginal_is_one_sentinel_and_a_decoder_of_two_tokens(vocab_name: str) -> None:
    vocab, scan = vocab_of(vocab_name), scorer_of(vocab_name).scan(PROTEIN)
    sentinel = int(vocab.sentinel_ids[0])
    for position in (1, 13, 30):
        ids = vocab.encode(PROTEIN).tolist()
        ids[position - 1] = sentinel
        row_V = expected_by_the_network(vocab_name, [*front(vocab_name, "[NLU]"), *ids, EOS], [sentinel, PAD])[1]
        of_letter = [row_V[vocab.encode(letter)[0]] for letter in COLUMNS]
        old = row_V[vocab.encode(PROTEIN[position - 1])[0]]
        np.testing.assert_allclose(scan.raw_L20[position - 1], np.array(of_letter) - old, atol=2e-3)


def test_wild_type_marginal_reads_the_protein_once_with_nothing_hidden() -> None:
    vocab, scan = vocab_of("openankh"), scorer_of("openankh", "wild-type-marginal").scan(PROTEIN)
    ids = vocab.encode(PROTEIN).tolist()
    rows_LV = expected_by_the_network("openankh", [*front("openankh", "[NLU]"), *ids, EOS], ids)
    wanted = rows_LV[:, [vocab.encode(letter)[0] for letter in COLUMNS]] - rows_LV[np.arange(30), ids][:, None]
    np.testing.assert_allclose(scan.raw_L20, wanted, atol=2e-3)


def test_pseudo_log_likelihood_hides_each_residue_of_both_proteins_in_turn() -> None:
    vocab, changed = vocab_of("ankh"), substituted(PROTEIN, 5, "W")[:20] + PROTEIN[23:]
    (score,) = scorer_of("ankh", "pseudo-log-likelihood").score(PROTEIN, [f"{single(5, 'W')}:{deletion(21, 23)}"])

    def total(sequence: str) -> float:
        masked = MaskedResidues(reader_of(small_model("ankh")), vocab, Window())
        rows = [masked.rows(sequence, [place])[0] for place in range(len(sequence))]
        return sum(row[vocab.letters.index(letter)] for row, letter in zip(rows, sequence, strict=True))

    assert score.variant.sequence == changed
    assert score.raw == pytest.approx(total(changed) - total(PROTEIN), abs=5e-3)


def deletion(first: int, last: int) -> str:
    return f"{PROTEIN[first - 1]}{first}_{PROTEIN[last - 1]}{last}del"


@pytest.mark.parametrize("change", ["substitution", "deletion", "insertion", "late"])
def test_likelihood_is_that_of_the_rest_behind_the_same_beginning(change: str) -> None:
    vocab = vocab_of("openankh")
    cut, text, rest = {
        "substitution": (4, single(5, "W"), "W" + PROTEIN[5:]),
        "deletion": (9, deletion(10, 12), PROTEIN[12:]),
        "insertion": (10, f"{PROTEIN[9]}10_{PROTEIN[10]}11insWW", "WW" + PROTEIN[10:]),
        "late": (15, single(29, "W"), PROTEIN[15:28] + "W" + PROTEIN[29:]),
    }[change]
    (score,) = scorer_of("openankh", "likelihood").score(PROTEIN, [text])

    def total(rest: str) -> float:
        inputs = [vocab.prefix_id("[S2S]"), *vocab.encode(PROTEIN[:cut]).tolist(), EOS]
        targets = [*vocab.encode(rest).tolist(), EOS]
        return expected_by_the_network("openankh", inputs, targets)[np.arange(len(targets)), targets].sum()

    assert score.raw == pytest.approx(total(rest) - total(PROTEIN[cut:]), abs=5e-3)


def test_likelihood_without_s2s_hides_all_changed_residues_at_once() -> None:
    vocab = vocab_of("ankh")
    (score,) = scorer_of("ankh", "likelihood").score(PROTEIN, [f"{single(3, 'W')}:{single(20, 'C')}"])
    ids, (first, second) = vocab.encode(PROTEIN).tolist(), vocab.sentinel_ids[:2].tolist()
    ids[2], ids[19] = first, second

    def total(letters: str) -> float:
        targets = [first, int(vocab.encode(letters[0])[0]), second, int(vocab.encode(letters[1])[0])]
        return expected_by_the_network("ankh", [*ids, EOS], targets)[[1, 3], targets[1::2]].sum()

    assert score.raw == pytest.approx(total("WC") - total(PROTEIN[2] + PROTEIN[19]), abs=5e-3)


@pytest.mark.parametrize("method", METHODS)
def test_a_variant_of_a_list_scores_as_in_the_scan_and_alone(method: Method) -> None:
    protein = PROTEIN[:9]
    scorer = scorer_of("openankh", method)
    scan = scorer.scan(protein)
    texts = [str(mutation) for mutation, _, _ in scan]
    assert len(texts) == 9 * 19
    together = list(scorer.score(protein, [*texts[::17], "WT"]))
    wanted = list(scan)[::17]
    for score, (mutation, raw, calibrated) in zip(together[:-1], wanted, strict=True):
        assert score.variant.name == str(mutation)
        assert (score.raw, score.calibrated) == pytest.approx((raw, calibrated), abs=1e-3)
    assert together[-1].raw == together[-1].calibrated == 0
    (alone,) = scorer.score(protein, [texts[34]])
    assert alone.raw == pytest.approx(together[2].raw, abs=1e-3)


def test_the_wild_type_is_zero_in_a_scan() -> None:
    scan = scorer_of("ankh").scan(PROTEIN)
    columns = [COLUMNS.index(letter) for letter in PROTEIN]
    assert (scan.raw_L20[np.arange(30), columns] == 0).all() and (
        scan.calibrated_L20[np.arange(30), columns] == 0
    ).all()


def test_marginals_of_several_substitutions_add_up() -> None:
    texts = [single(4, "W"), single(17, "C")]
    one, other, both = scorer_of("ankh").score(PROTEIN, [*texts, ":".join(texts)])
    assert both.raw == pytest.approx(one.raw + other.raw) and both.calibrated == pytest.approx(
        one.calibrated + other.calibrated
    )


def test_each_masked_input_is_read_once() -> None:
    masked = MaskedResidues(reader_of(small_model("ankh")), vocab_of("ankh"), Window(8))
    repeated = "A" * 40
    rows = masked.rows(repeated, range(40), remember=True)
    assert masked.num_inputs_read == 8  # in the middle all windows are alike
    np.testing.assert_array_equal(rows[10], rows[20])
    masked.rows(repeated, [3, 20])
    assert masked.num_inputs_read == 8


def test_pseudo_log_likelihood_does_not_read_again_what_the_wild_type_has_too() -> None:
    masked = MaskedResidues(reader_of(small_model("ankh")), vocab_of("ankh"), Window())
    masked.rows(PROTEIN, range(30), remember=True)
    masked.rows(substituted(PROTEIN, 5, "W"), range(30))
    assert masked.num_inputs_read == 30 + 29


@pytest.mark.parametrize("length", [5, 16, 17, 30, 100, 101])
def test_windows_cover_every_place_once_and_keep_it_off_their_ends(length: int) -> None:
    window = Window(16)
    tiles = window.tiles(length)
    assert [place for _, judged in tiles for place in range(judged.start, judged.stop)] == list(range(length))
    for read, judged in tiles:
        assert 0 <= read.start <= judged.start and judged.stop <= read.stop <= length and read.stop - read.start <= 16
        assert read.start == 0 or judged.start - read.start >= 4
        assert read.stop == length or read.stop - judged.stop >= 4
    for place in range(length):
        read = window.around(place, length)
        assert read.start <= place < read.stop and read.stop - read.start == min(16, length)


@pytest.mark.parametrize("method", ["masked-marginal", "pseudo-log-likelihood"])
def test_a_long_protein_is_judged_by_windows_around_each_place(method: Method) -> None:
    long = draw_records(1, 60, 60, seed=3)[0].sequence
    text = f"{long[39]}40W"
    (inside,) = scorer_of("ankh", "masked-marginal", 20).score(long, [text])
    (cut_out,) = scorer_of("ankh").score(long[29:49], [f"{long[39]}11W"])
    assert inside.raw == pytest.approx(cut_out.raw, abs=1e-3)


@pytest.mark.parametrize("vocab_name", ["ankh", "openankh"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_scores_a_protein_longer_than_its_window(vocab_name: str, method: Method) -> None:
    long = draw_records(1, 60, 60, seed=3)[0].sequence
    texts = [f"{long[position - 1]}{position}W" for position in (1, 30, 60) if long[position - 1] != "W"]
    scores = list(scorer_of(vocab_name, method, 16).score(long, texts))
    assert all(math.isfinite(score.raw) and score.raw != 0 for score in scores)


def test_long_deletions_of_long_proteins_leave_something_to_compare() -> None:
    long = draw_records(1, 90, 90, seed=4)[0].sequence
    (score,) = scorer_of("openankh", "likelihood", 16).score(long, [f"{long[9]}10_{long[69]}70del"])
    assert math.isfinite(score.raw)


def test_calibration_takes_off_what_composition_alone_gives() -> None:
    protein = "QQQQQQQQAQQQQQQQQQQQ"
    background = Background.of(protein)
    share = (19 + 20 * STANDARD["Q"]) / 40
    assert background.log_share("Q") == pytest.approx(math.log(share))
    (score,) = scorer_of("ankh").score(protein, ["A9Q"])
    assert score.calibrated == pytest.approx(score.raw - background.log_share("Q") + background.log_share("A"))
    assert score.calibrated < score.raw
    assert sum(math.exp(value) for value in background.log_shares.values()) == pytest.approx(1, abs=0.01)
    assert sum(STANDARD.values()) == pytest.approx(1, abs=5e-3)


def test_calibration_counts_inserted_and_deleted_residues() -> None:
    scorer, background = scorer_of("openankh", "likelihood"), Background.of(PROTEIN)
    lost, gained = scorer.score(PROTEIN, [deletion(10, 11), f"{PROTEIN[9]}10_{PROTEIN[10]}11insW"])
    change = -background.log_share(PROTEIN[9]) - background.log_share(PROTEIN[10])
    assert lost.calibrated == pytest.approx(lost.raw - change)
    assert gained.calibrated == pytest.approx(gained.raw - background.log_share("W"))


@pytest.mark.parametrize(
    ("vocab_name", "method", "text", "message"),
    [
        (
            "openankh",
            "masked-marginal",
            deletion(3, 4),
            "masked-marginal compares residues of one position.*likelihood",
        ),
        ("openankh", "wild-type-marginal", deletion(3, 4), "wild-type-marginal compares"),
        ("ankh", "likelihood", deletion(3, 4), r"tells the model how many residues.*\[S2S\]"),
        ("ankh", "masked-marginal", single(3, "J"), "'J' is no residue of this vocabulary"),
        ("ankh", "masked-marginal", "W400A", "past the end of the sequence of 30"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_the_reason(
    vocab_name: str, method: Method, text: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        list(scorer_of(vocab_name, method).score(PROTEIN, ["WT", text]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "magic"}, "not one of masked-marginal"),
        ({"window": 3}, "at least 8"),
        ({"background": "sky"}, "not one of protein"),
    ],
)
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ScoringOptions(**options)


def test_likelihood_agrees_with_the_door_for_log_probabilities() -> None:
    vocab, reader = vocab_of("openankh"), reader_of(small_model("openankh"))
    (score,) = scorer_of("openankh", "likelihood").score(PROTEIN, [single(1, "W")])
    inputs = np.array([vocab.prefix_id("[S2S]"), EOS])
    questions = [
        Question(inputs, np.append(vocab.encode(sequence).astype(np.int64), EOS))
        for sequence in ("W" + PROTEIN[1:], PROTEIN)
    ]
    new, old = (float(each.sum()) for each in target_log_probs(reader, questions))
    assert score.raw == pytest.approx(new - old, abs=5e-3)
