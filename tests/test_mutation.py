"""Substitutions: the field's notation, and errors that name position, expected and found."""

import csv
import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openankh.errors import UserError
from openankh.mutation import Mutation, apply, format_mutations, parse_mutations

capitals = st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
mutation_lists = st.lists(
    st.builds(Mutation, capitals, st.integers(1, 999_999_999), capitals), unique_by=lambda m: m.position, max_size=8
)


def test_a_substitution_is_wild_type_position_from_one_and_mutant():
    assert parse_mutations("A23V") == (Mutation("A", 23, "V"),)
    assert str(Mutation("A", 23, "V")) == "A23V"
    assert apply("MKT", parse_mutations("M1V:T3A")) == "VKA"


@pytest.mark.parametrize(
    "text", ["A23V:G41D", "A23V,G41D", "A23V;G41D", "A23V/G41D", "A23V+G41D", " A23V , G41D\n", "A23V G41D"]
)
def test_every_common_separator_means_the_same(text: str):
    assert parse_mutations(text) == (Mutation("A", 23, "V"), Mutation("G", 41, "D"))


@pytest.mark.parametrize("text", ["WT", "wt", " Wt "])
def test_the_wild_type_is_no_mutation(text: str):
    assert parse_mutations(text) == ()
    assert apply("MKT", ()) == "MKT"


def test_a_synonymous_change_changes_nothing():
    assert apply("MKT", parse_mutations("K2K")) == "MKT"


@given(mutations=mutation_lists)
def test_what_is_written_is_read_back(mutations: list[Mutation]):
    assert parse_mutations(format_mutations(mutations)) == tuple(mutations)


@given(sequence=st.text(capitals, min_size=1, max_size=60), data=st.data())
def test_applying_changes_the_named_positions_and_no_others(sequence: str, data: st.DataObject):
    positions = data.draw(st.lists(st.integers(1, len(sequence)), unique=True))
    mutations = [Mutation(sequence[position - 1], position, data.draw(capitals)) for position in positions]
    mutated = apply(sequence, mutations)
    expected = list(sequence)
    for mutation in mutations:
        expected[mutation.position - 1] = mutation.mutant
    assert mutated == "".join(expected)
    back = [Mutation(mutation.mutant, mutation.position, mutation.wild_type) for mutation in mutations]
    assert apply(mutated, back) == sequence


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no mutation given"),
        ("  ", "no mutation given"),
        ("A0V", "'A0V': positions count from 1"),
        ("A00V", "positions count from 1"),
        ("a23v", "upper case, A23V"),
        ("A23", "'A23' is no substitution"),
        ("23V", "like A23V"),
        ("A23VV", "like A23V"),
        ("A\uff12\uff13V", "like A23V"),
        ("A9999999999V", "like A23V"),
        ("A-3V", "only substitutions"),
        ("A23*", "no deletions, insertions or stops"),
        ("A23del", "only substitutions"),
        ("p.Ala23Val", "one-letter residues"),
        ("Ala23Val", "one-letter residues"),
        ("A23V::G41D", "two separators"),
        ("A23V:", "two separators stand together or one stands at an end"),
        ("A23V:A23D", "position 23 is mutated twice, by A23V and by A23D"),
        ("A23V:A23V", "position 23 is mutated twice"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_the_row(text: str, message: str):
    with pytest.raises(UserError, match=message) as raised:
        parse_mutations(text, row=7)
    assert str(raised.value).startswith("row 7: ") and "\n" not in str(raised.value)
    with pytest.raises(UserError) as without_row:
        parse_mutations(text)
    assert str(raised.value) == f"row 7: {without_row.value}"


@given(text=st.text(max_size=30))
def test_any_text_is_mutations_or_a_user_error_of_one_line(text: str):
    try:
        mutations = parse_mutations(text)
    except UserError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017  (either outcome is right)
    else:
        assert parse_mutations(format_mutations(mutations)) == mutations


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A2V", "row 3: A2V: expected A at position 2, found K; check the sequence and the numbering"),
        ("M2V", r"expected M at position 2, found K; it stands at 1: does the sequence lack its first residue"),
        ("T2V", r"expected T at position 2, found K; it stands at 3: does your numbering count from 0"),
        ("T4V", "row 3: T4V: position 4 is past the end of the sequence of 3 residues"),
        ("M1M:A2V", "expected A at position 2"),
    ],
)
def test_a_mutation_that_does_not_fit_names_position_expected_and_found(text: str, message: str):
    with pytest.raises(UserError, match=message) as raised:
        apply("MKT", parse_mutations(text), row=3)
    assert "\n" not in str(raised.value)


def test_a_position_mutated_twice_is_refused_even_when_the_second_fits_the_first():
    with pytest.raises(UserError, match="mutated twice"):
        apply("MKT", [Mutation("M", 1, "A"), Mutation("A", 1, "V")])


def test_measured_variants_of_real_assays_apply_to_their_wild_types(shared_data: Path):
    folder = shared_data / "variant_effects"
    with gzip.open(folder / "wild_types.csv.gz", "rt") as file:
        wild_types = {row["assay"]: row["sequence"] for row in csv.DictReader(file)}
    num_rows = 0
    for assay, wild_type in wild_types.items():
        path = folder / f"{assay}.csv.gz"
        if not path.exists():
            continue
        with gzip.open(path, "rt") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                mutations = parse_mutations(row["mutant"], row=number)
                if len(row["mutated_sequence"]) == len(wild_type):
                    assert apply(wild_type, mutations, row=number) == row["mutated_sequence"]
                    num_rows += 1
    assert num_rows > 10_000
