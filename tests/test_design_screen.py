"""Screens: likeness is found wherever it lies, hits are marked or left out, and nothing in silence."""

from pathlib import Path

import pytest

from design_samples import PARENT, family_members
from openankh.design import alignment
from openankh.design.proposal import Making, Proposal
from openankh.design.proposal_files import COLUMNS, fasta_of, row_of, table_of
from openankh.design.screening import Screen, Screening
from openankh.errors import UserError
from openankh.fasta import Record

(LONG,) = family_members(1, 120)
CONCERN = Record("toxin", "", LONG.sequence[30:90], 1)


def screen(action: str = "report", threshold: float = 0.5) -> Screen:
    return Screen((Record("other", "", "W" * 50, 1), CONCERN), threshold, action)  # type: ignore[arg-type]


def proposal(sequence: str) -> Proposal:
    return Proposal("d", sequence, Making("one", "sample", "m"), PARENT)


def test_what_holds_a_sequence_of_concern_and_a_piece_of_one_are_hits() -> None:
    for sequence in (LONG.sequence, CONCERN.sequence, CONCERN.sequence[5:40]):
        hit = screen().hit(sequence)
        assert hit is not None and hit.id == "toxin" and hit.identity == 1.0


def test_a_relative_is_a_hit_by_its_identity_and_a_stranger_is_none() -> None:
    relative = "".join("A" if place % 4 == 0 else letter for place, letter in enumerate(CONCERN.sequence))
    same = sum(a == b for a, b in zip(relative, CONCERN.sequence, strict=True)) / len(relative)
    hit = screen().hit(relative)
    assert hit is not None and hit.identity == pytest.approx(same, abs=0.05)
    assert screen(threshold=0.95).hit(relative) is None
    assert screen().hit(family_members(1, 60, seed=99)[0].sequence) is None


@pytest.mark.parametrize(("action", "num_kept"), [("report", 2), ("drop", 1)])
def test_hits_are_marked_or_left_out_and_counted_either_way(action: str, num_kept: int) -> None:
    screening = Screening(screen(action))
    kept = list(screening.of([proposal(CONCERN.sequence), proposal("ACDEFGHIKL" * 3)]))
    assert len(kept) == num_kept and (screening.num_seen, screening.num_hits) == (2, 1)
    assert "1 of 2 proteins" in screening.summary
    assert ("left out" if action == "drop" else "marked") in screening.summary
    assert kept[-1].hit is None
    if action == "report":
        assert "screen_hit=toxin screen_identity=1 " in fasta_of(kept[0]) and "toxin" in row_of(kept[0])


def test_without_a_screen_all_passes_unmarked() -> None:
    (kept,) = Screening().of([proposal("ACD")])
    assert kept.hit is None and Screening().summary == ""


def test_a_screen_reads_fasta_and_refuses_what_it_cannot_use(tmp_path: Path) -> None:
    path = tmp_path / "concern.fasta"
    path.write_text(f">toxin\n{CONCERN.sequence}\n")
    assert Screen.read(str(path)).hit(LONG.sequence) is not None
    for threshold in (0.0, 1.5):
        with pytest.raises(UserError, match="--screen-threshold"):
            Screen.read(str(path), threshold)
    (tmp_path / "empty.fasta").write_text("")
    with pytest.raises(UserError, match="no records"):
        Screen.read(str(tmp_path / "empty.fasta"))


def test_without_parasail_a_screen_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(alignment, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="--screen: aligns with parasail, which is not installed"):
        Screen.read(str(tmp_path / "concern.fasta"))


def test_identity_is_that_of_the_global_alignment() -> None:
    assert alignment.global_identity("ACDEFGHIKL", "ACDEFGHIKL") == 1
    assert alignment.global_identity("ACDEFGHIKL", "ACDEFWHIKL") == pytest.approx(0.9)
    assert alignment.global_identity("ACDEFGHIKLMNPQ", "ACDEFGHIKL") == pytest.approx(10 / 14)


def test_headers_are_one_line_and_tables_can_be_read_back() -> None:
    strange = Proposal("a b", "ACD", Making("one", "sample,t=1", "my model"), Record("p,1", "", "ACE", 1))
    header = fasta_of(strange).splitlines()[0]
    assert "model=my_model" in header and "mutations=E3D" in header
    assert table_of([row_of(strange)]).count("\n") == 1 and '"p,1"' in table_of([row_of(strange)])


def test_the_columns_of_tables_are_frozen() -> None:
    assert ",".join(COLUMNS) == (
        "id,sequence,length,parent,kept,mutations,num_mutations,identity,mean_log_prob,score,score_name,ended,verb,method,"
        "temperature,seed,screen_hit,screen_identity,model"
    )
