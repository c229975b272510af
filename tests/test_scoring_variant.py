"""Variants: what is written becomes a sequence, and what does not fit is told with row, position, expected, found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openankh.errors import UserError
from openankh.scoring.variant import parse_variant, variant_of_sequence

PROTEIN = "MKTAYIAKQR"


@pytest.mark.parametrize(
    ("text", "sequence"),
    [
        ("WT", PROTEIN),
        ("K2R", "MRTAYIAKQR"),
        ("K2R:A7G", "MRTAYIGKQR"),
        ("K2del", "MTAYIAKQR"),
        ("K2_A4del", "MYIAKQR"),
        ("K2_T3insGS", "MKGSTAYIAKQR"),
        ("K2_A4delinsG", "MGYIAKQR"),
        ("A7dup", "MKTAYIAAKQR"),
        ("Y5_A7dup", "MKTAYIAYIAKQR"),
        ("K2R:A7del", "MRTAYIKQR"),
        ("A7del:K2R", "MRTAYIKQR"),
        ("K2_T3insG:A7del", "MKGTAYIKQR"),
    ],
)
def test_what_is_written_becomes_a_sequence(text: str, sequence: str) -> None:
    variant = parse_variant(text, PROTEIN)
    assert variant.sequence == sequence and variant.name == text
    assert (variant.mutations is None) == (len(sequence) != len(PROTEIN))


def test_a_replacement_of_equal_length_is_substitutions() -> None:
    variant = parse_variant("K2_T3delinsRT", PROTEIN)
    assert [str(mutation) for mutation in variant.mutations or ()] == ["K2R"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A2V", "row 7: A2V: expected A at position 2, found K"),
        ("K2R:A8G", "row 7: A8G: expected A at position 8, found K"),
        ("A2del", "row 7: A2A: expected A at position 2, found K.*in A2del"),
        ("K2_A5del", "expected A at position 5, found Y"),
        ("K2_A4insG", "row 7: .*between neighbours"),
        ("K0del", "count from 1"),
        ("A4_K2del", "smaller one first"),
        ("K22del", "past the end of the sequence of 10"),
        ("K2fsdel", "row 7: .*no change that is known"),
        ("K2del:K2R", "overlap"),
        ("K2_T3insG:K2_T3insG", "overlap"),
        ("M1_R10del", "no residues are left"),
        ("K2*", "no substitution"),
        ("", "no mutation given"),
    ],
)
def test_what_does_not_fit_is_told(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_variant(text, PROTEIN, row=7)


@given(st.text("AKM", min_size=1, max_size=8), st.text("AKM", min_size=1, max_size=8))
def test_the_name_given_to_a_sequence_reads_back_as_it(wild_type: str, sequence: str) -> None:
    variant = variant_of_sequence(sequence, wild_type)
    assert parse_variant(variant.name, wild_type).sequence == sequence
