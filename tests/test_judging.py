"""Designs are judged by a profile, entropies, identities and compositions that mean what the page says they mean."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest

pytest.importorskip("pyhmmer")
pytest.importorskip("parasail")
pytest.importorskip("matplotlib")

from openankh.design.alignment import global_identity as identity
from openankh.errors import UserError
from openankh.judging import requirements
from openankh.judging.columns import columns_of, entropy_difference
from openankh.judging.composition import AMINO_ACIDS, WINDOW, divergence, low_complexity, shares
from openankh.judging.family_profile import SEARCHED, FamilyProfile
from openankh.judging.judge import HELD_OUT, SHUFFLED, judge
from openankh.judging.judgement import Judgement, JudgeOptions, Share
from openankh.judging.likeness import Naturals, pairwise_identities
from openankh.judging.page import page
from openankh.judging.protein_set import ProteinSet, read_set
from openankh.judging.report_folder import write_report
from openankh.judging.tables import as_json, markdown, proteins_csv


def relatives(num: int, seed: int = 0, length: int = 90, share: float = 0.35) -> ProteinSet:
    """Descendants of one protein: each residue replaced with some probability, a few lost at the ends."""
    random = Random(7)
    ancestor = [random.choice(AMINO_ACIDS) for _ in range(length)]
    random = Random(seed)
    found = []
    for _ in range(num):
        residues = [random.choice(AMINO_ACIDS) if random.random() < share else residue for residue in ancestor]
        found.append("".join(residues[random.randrange(4) : length - random.randrange(4)]))
    return ProteinSet("family", tuple(f"P{number}" for number in range(num)), tuple(found))


FAMILY = relatives(80)


@pytest.fixture(scope="module")
def judgement() -> Judgement:
    """Unseen relatives and a copy, strangers beside them, against the family."""
    fresh = relatives(29, seed=1).sequences
    designs = ProteinSet("<fresh>", tuple(f"D{number}" for number in range(30)), (*fresh, FAMILY.sequences[3]))
    strangers = relatives(20, seed=2).shuffled(5, "strangers")
    return judge([designs], FAMILY, [strangers], JudgeOptions(controls=30))


def test_the_profile_takes_unseen_members_and_no_shuffled_ones() -> None:
    profile = FamilyProfile.build(FAMILY.sequences[:40])
    assert profile.num_columns == pytest.approx(90, abs=9)
    assert all(score.e_value <= 1e-10 for score in profile.scores(FAMILY.sequences[40:]))
    assert all(score.e_value > 1e-3 for score in profile.scores(FAMILY.shuffled(0, "shuffled").sequences))


def test_a_profile_is_the_same_from_the_same_proteins_and_scores_do_not_depend_on_company() -> None:
    one, other = (FamilyProfile.build(FAMILY.sequences[:30]) for _ in range(2))
    assert one.text == other.text
    together = one.scores(FAMILY.sequences[:10])
    assert [one.scores([sequence])[0] for sequence in FAMILY.sequences[:10]] == together


def test_the_score_of_an_e_value_is_the_one_at_which_hmmer_says_it() -> None:
    profile = FamilyProfile.build(FAMILY.sequences[:40])
    for score in profile.scores([sequence[:40] for sequence in FAMILY.sequences[40:50]]):
        assert profile.bits_at(score.e_value) == pytest.approx(score.bits, abs=0.01)
    assert profile.bits_at(SEARCHED * 1e-9) > profile.bits_at(SEARCHED * 1e-3)


def test_a_protein_without_any_likeness_is_not_accepted_rather_than_left_out() -> None:
    scores = FamilyProfile.build(FAMILY.sequences[:30]).scores(["G", "W" * 40, FAMILY.sequences[50]])
    assert len(scores) == 3
    assert scores[0].e_value > 1 and scores[1].e_value > 1 and scores[2].e_value < 1e-10


def test_aligned_residues_are_those_of_the_protein_in_their_order() -> None:
    profile = FamilyProfile.build(FAMILY.sequences[:40])
    codes_NC = profile.aligned(FAMILY.sequences)
    assert codes_NC.shape == (80, profile.num_columns)
    for codes_C, sequence in zip(codes_NC, FAMILY.sequences, strict=True):
        rest = iter(sequence)
        assert all(AMINO_ACIDS[code] in rest for code in codes_C[codes_C < 20])


def test_the_typical_protein_that_a_profile_begins_with_is_as_long_as_most() -> None:
    fragments = tuple(sequence[:30] for sequence in FAMILY.sequences[:10])
    profile = FamilyProfile.build((*fragments, *FAMILY.sequences[10:40]))
    assert profile.seed_place >= 10


def test_entropy_is_zero_where_all_are_the_same_and_most_where_all_are_as_common() -> None:
    codes_NC = np.stack([np.zeros(40, np.uint8), np.arange(40, dtype=np.uint8) % 20, np.full(40, 20, np.uint8)], axis=1)
    columns = columns_of(codes_NC)
    assert columns.entropies_C[0] == 0
    assert columns.entropies_C[1] == pytest.approx(math.log2(20))
    assert math.isnan(columns.entropies_C[2])
    assert columns.occupancies_C.tolist() == [1, 1, 0]


def test_a_set_differs_from_itself_by_nothing_and_from_another_by_the_mean_square() -> None:
    one = columns_of(np.random.default_rng(0).integers(20, size=(200, 5)))
    other = columns_of(np.zeros((200, 5), np.uint8))
    assert entropy_difference(one, one).squared_bits == 0
    assert entropy_difference(one, one).correlation == pytest.approx(1)
    found = entropy_difference(one, other)
    assert found.squared_bits == pytest.approx(np.mean(np.square(one.entropies_C)))
    assert found.squared_nats == pytest.approx(found.squared_bits * math.log(2) ** 2)
    assert math.isnan(found.correlation)


def test_the_nearest_protein_found_by_words_is_the_nearest_of_all() -> None:
    naturals = Naturals(FAMILY.sequences)
    for sequence in relatives(15, seed=3).sequences:
        found = naturals.nearest(sequence)
        assert found is not None
        assert found.identity >= 0.95 * max(identity(sequence, each) for each in FAMILY.sequences)


def test_a_copy_is_found_whole_and_a_natural_protein_is_not_its_own_nearest() -> None:
    naturals, sequence = Naturals(FAMILY.sequences), FAMILY.sequences[5]
    found, other = naturals.nearest(sequence), naturals.nearest(sequence, besides_itself=True)
    assert found is not None and other is not None
    assert (found.place, found.identity) == (5, 1.0)
    assert other.place != 5 and other.identity == identity(sequence, FAMILY.sequences[other.place]) < 1


@pytest.mark.parametrize("sequence", ["M", "MK", "XXXXXXXX", "WWW"])
def test_the_shortest_and_strangest_proteins_have_a_nearest_one_too(sequence: str) -> None:
    found = Naturals(FAMILY.sequences).nearest(sequence)
    assert found is not None and 0 <= found.identity <= 1


def test_identity_is_identical_pairs_over_all_columns_of_the_alignment() -> None:
    assert identity("MKTAYIAK", "MKTAYIAK") == 1
    assert identity("MKTAYIAKQRQISFVK", "MKTAYIAKQRQISFV") == pytest.approx(15 / 16)
    assert identity("AAAA", "WWWW") == 0


def test_all_pairs_of_a_small_set_are_compared_and_a_sample_of_a_large_one() -> None:
    assert len(pairwise_identities(FAMILY.sequences[:5], 0)) == 10
    assert len(pairwise_identities(FAMILY.sequences, 0, num_pairs=50)) == 50
    assert len(pairwise_identities(FAMILY.sequences[:1], 0)) == 0


@pytest.mark.parametrize("sequence", ["A" * 30, FAMILY.sequences[0], FAMILY.sequences[0][:40] + "QN" * 20, "MK"])
def test_low_complexity_is_the_share_of_residues_in_windows_of_few_letters(sequence: str) -> None:
    covered = set()
    for start in range(len(sequence) - WINDOW + 1):
        window = sequence[start : start + WINDOW]
        bits = -sum(window.count(each) / WINDOW * math.log2(window.count(each) / WINDOW) for each in set(window))
        covered |= set(range(start, start + WINDOW)) if bits <= 2.2 else set()
    assert low_complexity(sequence) == pytest.approx(len(covered) / len(sequence))


def test_compositions_diverge_by_nothing_from_themselves_and_by_one_bit_at_most() -> None:
    assert divergence(shares(FAMILY.sequences), shares(FAMILY.sequences)) == pytest.approx(0, abs=1e-12)
    assert divergence(shares(["AAAA"]), shares(["WWWW"])) == pytest.approx(1)
    assert shares(["AAXB", "AC"])[:2].tolist() == [0.75, 0.25]


def test_intervals_of_shares_are_wilsons() -> None:
    share = Share.of(8, 10)  # the textbook's example: 0.49 to 0.94
    assert (round(share.low, 2), round(share.high, 2)) == (0.49, 0.94)
    assert Share.of(0, 10).low == 0 and Share.of(10, 10).high == pytest.approx(1)


def test_members_are_accepted_shuffled_ones_and_strangers_are_not(judgement: Judgement) -> None:
    accepted = {each.name: each.accepted.value for each in judgement.sets}
    assert accepted == {"<fresh>": 1, "strangers": 0, HELD_OUT: 1, SHUFFLED: 0}
    assert [each.kind for each in judgement.sets] == ["designs", "control", "control", "control"]


def test_novelty_counts_what_is_no_copy(judgement: Judgement) -> None:
    designs = judgement.designs[0]
    assert designs.novel == pytest.approx(29 / 30) and designs.unique == 1
    copy = designs.proteins[-1]
    assert copy.is_natural and copy.nearest == "P3" and copy.nearest_identity == 1
    held_out = judgement.sets[-2]
    assert held_out.novel == 0 and all(each.nearest_identity < 1 for each in held_out.proteins)


def test_shuffling_keeps_lengths_and_composition_and_nothing_else(judgement: Judgement) -> None:
    *_, held_out, shuffled = judgement.sets
    assert np.array_equal(held_out.values("length"), shuffled.values("length"))
    assert np.array_equal(held_out.shares_20, shuffled.shares_20)
    assert shuffled.entropy.squared_bits > 3 * held_out.entropy.squared_bits


def test_equal_designs_are_counted_as_copies_of_each_other() -> None:
    twice = ProteinSet("twice", ("a", "b", "c"), (FAMILY.sequences[0], FAMILY.sequences[0], FAMILY.sequences[1]))
    found = judge([twice], FAMILY, options=JudgeOptions(controls=20)).designs[0]
    assert [each.copies for each in found.proteins] == [2, 2, 1]
    assert found.unique == pytest.approx(2 / 3)
    assert found.proteins[0].bits == found.proteins[1].bits


def test_the_same_seed_judges_alike_and_another_halves_the_family_otherwise() -> None:
    designs = relatives(5, seed=1)
    options = JudgeOptions(controls=20, seed=1)
    designs = ProteinSet("designs", designs.ids, designs.sequences)
    one, again, other = (judge([designs], FAMILY, options=each) for each in (options, options, JudgeOptions()))
    assert as_json(one) == as_json(again)
    assert one.family.seed_id != other.family.seed_id or one.family.consensus != other.family.consensus


def test_a_name_used_twice_or_a_family_too_small_is_one_line() -> None:
    with pytest.raises(UserError, match="two sets are named 'family'"):
        judge([FAMILY], FAMILY, [FAMILY])
    with pytest.raises(UserError, match="two sets are named 'shuffled'"):
        judge([ProteinSet(SHUFFLED, ("a",), ("MKV",))], FAMILY)
    few = FAMILY.chosen(range(19))
    with pytest.raises(UserError, match="19 different proteins; give at least 20"):
        judge([FAMILY], ProteinSet("few", few.ids * 2, few.sequences * 2))


@pytest.mark.parametrize("wrong", [{"accept": 0}, {"accept": math.nan}, {"learned": 3}, {"controls": 0}, {"seed": -1}])
def test_options_that_make_no_sense_are_refused(wrong: dict) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        JudgeOptions(**wrong)


def test_a_missing_package_is_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "find_spec", lambda name: None if name == "pyhmmer" else object())
    with pytest.raises(UserError, match=r'needs pyhmmer; run: pip install "openankh\[judge\]"'):
        judge([FAMILY], FAMILY)


def test_the_page_needs_nothing_else_and_runs_nothing(judgement: Judgement) -> None:
    html = page(judgement, "Designs & <family>")
    assert "<script" not in html and "<link" not in html and "<img" not in html and "@import" not in html
    addresses = set(re.findall(r'(?:href|src)="([^"]*)"', html)) | set(re.findall(r"url\(([^)]*)\)", html))
    assert all(address.startswith("#") for address in addresses)
    assert "<family>" not in html and "<fresh>" not in html and "&lt;fresh&gt;" in html
    assert "prefers-color-scheme: dark" in html and 'name="viewport"' in html


def test_no_name_in_the_page_is_given_twice_and_every_one_referred_to_is_there(judgement: Judgement) -> None:
    html = page(judgement, "Designs")
    names = re.findall(r' id="([^"]*)"', html)
    assert len(names) == len(set(names))
    assert set(re.findall(r'(?:href="|url\()#([^")]*)', html)) <= set(names)


def test_figures_take_the_ink_of_the_page(judgement: Judgement) -> None:
    html = page(judgement, "Designs")
    assert html.count("<svg") == 6
    assert "currentColor" in html and "#010203" not in html and "#000000" not in html


def test_the_folder_holds_page_facts_table_and_profile(judgement: Judgement, tmp_path: Path) -> None:
    write_report(judgement, tmp_path / "report", "Designs")
    facts = json.loads((tmp_path / "report" / "report.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert [each["name"] for each in facts["sets"]] == [each.name for each in judgement.sets]
    rows = (tmp_path / "report" / "proteins.csv").read_text().splitlines()
    assert len(rows) == 1 + sum(map(len, judgement.sets))
    assert (tmp_path / "report" / "family.hmm").read_text().startswith("HMMER3")


def test_tables_have_a_row_a_set_and_a_row_a_protein(judgement: Judgement) -> None:
    assert len(markdown(judgement).splitlines()) == 2 + len(judgement.sets)
    assert len(proteins_csv(judgement.sets).splitlines()) == 1 + sum(map(len, judgement.sets))


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_sets_are_read_from_fasta_and_from_tables_alike(tmp_path: Path) -> None:
    fasta = read_set(_write(tmp_path / "some.designs.fasta", ">a x\nMKV\nAA\n>b\nmkv*\n"))
    table = read_set(_write(tmp_path / "t.csv", "id,sequence,other\na,MKVAA,1\nb,mkv*,2\n"), "named")
    assert (fasta.name, table.name) == ("some", "named")
    assert fasta.ids == table.ids == ("a", "b")
    assert fasta.sequences == table.sequences == ("MKVAA", "MKV")
    assert read_set(_write(tmp_path / "f.txt", ">a\nMKV\n")).sequences == ("MKV",)
    assert read_set(_write(tmp_path / "n.tsv", "seq\tec\nMKV\t1\n")).ids == ("line 2",)


BAD: list[tuple[str, str, str]] = [
    ("x.csv", "name,ec\na,1\n", "no column 'sequence'"),
    ("x.csv", "sequence\nMKV\nM1V\n", "line 3: residue 2"),
    ("x.csv", "id,sequence\na,\n", "line 2: has no sequence"),
    ("x.fasta", ">a\nMK-V\n", "line 2"),
    ("x.fasta", "", "x.fasta"),
    ("x.csv", "sequence\n", "holds no proteins"),
]


@pytest.mark.parametrize(("name", "text", "told"), BAD)
def test_a_bad_file_is_one_line_that_says_where(name: str, text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=told) as raised:
        read_set(_write(tmp_path / name, text))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("make", [lambda path: path, lambda path: path / "missing.fasta", lambda path: path / "no.csv"])
def test_a_folder_or_a_missing_file_is_one_line(make: Callable[[Path], Path], tmp_path: Path) -> None:
    with pytest.raises(UserError):
        read_set(make(tmp_path))
