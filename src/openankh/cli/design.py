"""`openankh design`: new proteins of a family, of one protein, or by a score; each verb in a file of its own."""

from cyclopts import App

VERBS = {
    "family": ("design_family:family", "Proteins like those of a family, by a model adapted to it (High-N)."),
    "one": ("design_one:one", "Variants of one protein, a share of which is hidden and written anew (One-N)."),
    "directed": ("design_directed:directed", "Mutants that a score or a predictor prefers, within a budget."),
    "report": ("design_report:design_report", "Designs held against a natural family, in one page."),
}

design = App(name="design", help="New proteins: of a family, of one protein, by a score.", help_format="plaintext")
for _name, (_place, _summary) in VERBS.items():
    design.command(f"openankh.cli.{_place}", name=_name, help=_summary)
