"""A judgement in a folder: the page, JSON, a CSV of all proteins, and the profile as a HMMER file."""

import json
from pathlib import Path

from openankh.files import atomic_folder, write_file_atomically
from openankh.judging.judgement import Judgement
from openankh.judging.page import page
from openankh.judging.tables import as_json, proteins_csv

PAGE, FACTS, PROTEINS, PROFILE = "report.html", "report.json", "proteins.csv", "family.hmm"


def write_report(judgement: Judgement, folder: Path, title: str) -> None:
    """Write all of it, or nothing; a folder that stands there is replaced as a whole."""
    with atomic_folder(folder) as temporary:
        write_file_atomically(temporary / PAGE, page(judgement, title))
        write_file_atomically(temporary / FACTS, json.dumps(as_json(judgement), indent=1) + "\n")
        write_file_atomically(temporary / PROTEINS, proteins_csv(judgement.sets))
        write_file_atomically(temporary / PROFILE, judgement.profile)
