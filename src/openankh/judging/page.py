"""A judgement as one HTML page that needs nothing else: no script, no other file; light and dark, wide and narrow."""

from collections.abc import Sequence
from html import escape

from openankh import __version__
from openankh.judging.columns import FEWEST
from openankh.judging.composition import LOW_BITS, WINDOW
from openankh.judging.family_profile import ROUNDS, SEARCHED
from openankh.judging.figures import figures
from openankh.judging.judgement import Judgement, ProteinFacts, SetFacts
from openankh.judging.likeness import CANDIDATES, PAIRS
from openankh.judging.tables import summary

_SHOWN = 10
"""Designs told one by one."""

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --ground: #ffffff; --soft: #5d6673; --line: #d5dae1; --row: #f4f6f8 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ee; --ground: #14171b; --soft: #9aa4b1; --line: #333a43; --row: #1c2127 }
}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.2rem 1rem 3rem; max-width: 52rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .4rem 0 } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem }
p.soft, figcaption, caption { color: var(--soft); font-size: .92rem }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; width: 100% }
th, td { padding: .35rem .7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: var(--ground) }
tbody tr:nth-child(even) > * { background: var(--row) } tbody tr:last-child > * { border-bottom: 0 }
figure { margin: 1rem 0 1.8rem } figure svg { width: 100%; max-width: 40rem; height: auto; display: block }
details { margin-top: 2rem } li { margin: .3rem 0 } summary { cursor: pointer }
@media (max-width: 34rem) {
  th, td { padding: .3rem .45rem } th:first-child { white-space: normal; min-width: 6.5rem }
}
"""

_CAPTIONS = {
    "scores": ("Are they members of the family?", "How well each protein fits the family's profile. Right of the "
               "dashed line the profile takes it for a member; shuffled proteins tell what chance gives."),
    "identities": ("Are they new?", "How much of its nearest natural protein each one repeats. At 100 % it is a copy."),
    "entropies": ("Do they vary where the family varies?", "Low columns are those that evolution keeps. Grey is the "
                  "natural family, the line the set."),
    "diversity": ("Do they differ from each other?", "Pairs drawn from each set."),
    "lengths": ("Are they as long?", "All axes are the same."),
    "composition": ("Are they made of the same residues?", "At 0 an amino acid is as common as in the family, at 1 "
                    "twice as common, at -1 half."),
}  # fmt: skip


def page(judgement: Judgement, title: str) -> str:
    """The page's HTML."""
    drawn = figures(judgement)
    parts = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        *(f"<p>{sentence}</p>" for sentence in _verdicts(judgement)),
        "<h2>In numbers</h2>",
        _summary(judgement.sets),
        *(_figure(svg, *_CAPTIONS[name]) for name, svg in drawn.items()),
        _examples(judgement),
        _method(judgement),
        "</body></html>\n",
    ]
    return "\n".join(parts)


def _verdicts(judgement: Judgement) -> list[str]:
    """What there is to know, one sentence a set of designs."""
    limit = f"E &le; {judgement.options.accept:g}"
    sentences = [
        f"<b>{escape(each.name)}</b>: the family's profile accepts {_share(each)} of {len(each):,} proteins at "
        f"{limit}; {100 * each.novel:.1f} % are no copy of a natural one, {100 * each.unique:.1f} % of the set are "
        "different."
        for each in judgement.designs
    ]
    others = "; ".join(f"{escape(each.name)} {_share(each)}" for each in judgement.sets if each.kind == "control")
    return [*sentences, f"Beside them stand controls: {others}."]


def _share(each: SetFacts) -> str:
    return f"{100 * each.accepted.value:.1f} % ({100 * each.accepted.low:.1f} to {100 * each.accepted.high:.1f})"


def _summary(sets: Sequence[SetFacts]) -> str:
    """A row a measure, a column a set."""
    columns = [summary(each) for each in sets]
    heads = "".join(f"<th>{escape(column[0].text)}</th>" for column in columns)
    rows = (
        f"<tr><th>{escape(row[0].heading)}</th>{''.join(f'<td>{escape(cell.text)}</td>' for cell in row)}</tr>"
        for row in list(zip(*columns, strict=True))[1:]
    )
    return _table(f"<th></th>{heads}", "".join(rows))


def _table(head: str, body: str) -> str:
    """In a frame that scrolls by itself where the screen is narrow."""
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _figure(svg: str, heading: str, caption: str) -> str:
    return f"<h2>{escape(heading)}</h2><figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def _examples(judgement: Judgement) -> str:
    """Accepted designs that are least like any natural protein."""
    accepted = [(each.name, one) for each in judgement.designs for one in each.proteins if one.is_accepted]
    chosen = sorted(accepted, key=lambda pair: (pair[1].nearest_identity, -pair[1].bits))[:_SHOWN]
    if not chosen:
        return "<h2>Accepted and newest</h2><p>No design is accepted.</p>"
    head = "".join(f"<th>{each}</th>" for each in ("protein", "set", "bits", "E-value", "identity", "nearest natural"))
    body = "".join(_example(name, one) for name, one in chosen)
    return (
        '<h2>Accepted and newest</h2><p class="soft">Designs that the profile accepts and that are least like any '
        "natural protein. The CSV file beside this page has all.</p>" + _table(head, body)
    )


def _example(name: str, one: ProteinFacts) -> str:
    cells = (name, f"{one.bits:.1f}", f"{one.e_value:.1e}", f"{100 * one.nearest_identity:.0f} %", one.nearest[:40])
    return f"<tr><td>{escape(one.id[:40])}</td>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _method(judgement: Judgement) -> str:
    family, options = judgement.family, judgement.options
    held_out = judgement.sets[-2]
    points = (
        f"Family: {escape(family.origin)}, {family.num_proteins:,} proteins, {family.num_distinct:,} different ones. "
        f"Half of them, drawn with seed {options.seed}, are for the profile; {family.num_learned:,} of that half were "
        "used.",
        f"Profile: HMMER's (pyhmmer). It begins with one typical protein ({escape(family.seed_id)}) and BLOSUM62; the "
        f"others are aligned to it and make the next, {ROUNDS} times. It has {family.num_columns} columns. Scores are "
        f"by the full forward algorithm without filters; E-values are those of a search among {SEARCHED:,} proteins. "
        f"E = {options.accept:g} is {family.bits_accepted:.1f} bits.",
        f"Controls: {len(held_out):,} naturals of the other half (relatives of those that made the profile may be "
        "among them: this is what the profile grants to true members), and the same with residues in random order.",
        "Entropy: Shannon's, of the amino acids in each column of the alignment to the profile, gaps left out, against "
        f"that of the naturals that made the profile, over columns where at least {FEWEST} proteins (half of a small "
        "set) have a residue. Few proteins vary less than many: the row of held-out naturals, about as many as there "
        "are designs, tells how much of a difference is owed to number alone.",
        "Identity: identical pairs over all columns of a global alignment (parasail; BLOSUM62, a gap of n costs 10 + "
        f"n). The nearest natural is looked for among all of the family: of the {CANDIDATES} that share most words of "
        "three residues. Naturals held out are compared with all others.",
        f"Pairs: all of a set, or {PAIRS:,} drawn at random. Novel: the sequence is not in the family. Unique: "
        "different sequences over all.",
        "Composition: Jensen-Shannon divergence from the naturals that made the profile. Low complexity: residues in "
        f"windows of {WINDOW} with at most {LOW_BITS} bits, as where SEG begins.",
        "Intervals of shares are Wilson's, 95 %.",
    )
    listed = "".join(f"<li>{point}</li>" for point in points)
    return (
        f"<details open><summary>How it was measured</summary><ul>{listed}</ul>"
        f'<p class="soft">OpenAnkh {__version__}</p></details>'
    )
