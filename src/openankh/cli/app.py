"""The command `openankh`: its verbs, each loaded when it is called for."""

from cyclopts import App

from openankh import __version__

VERBS = {
    "embed": "Proteins of a FASTA file as vectors of numbers.",
    "search": "The nearest proteins of each query by their embeddings, with their labels.",
    "finetune": "A head learned from labelled proteins, kept as an artifact.",
    "predict": "What an artifact says of each protein, with probabilities.",
    "benchmark": "Models on downstream tasks, with baselines and controls: one table, one plot.",
    "complete": "Proteins of which a beginning is kept and the rest is written by the model.",
    "design": "New proteins: of a family, of one protein, or mutants that a score or a predictor prefers.",
    "score": "What a model makes of variants of a protein: substitutions, insertions, deletions.",
    "describe": "All that the models here say of each protein, as the page shows it.",
    "serve": "A page and an API on this machine, one model behind both.",
    "prepare": "FASTA files into a corpus to train on.",
    "pretrain": "Train a model on a corpus, from scratch or from where a run stopped.",
    "ablate": "The Ankh paper's experiments at equal compute, compared in one table and one plot.",
    "store": "Embedding stores: verify, describe, export to HDF5, Parquet or NPZ, merge.",
    "models": "The models that can be named, with size, licence and whether they are here.",
    "info": "What a file or folder is: a model, a corpus, embeddings, a training run, FASTA.",
}

HELP = "The Ankh protein language models: embed, complete and score proteins, train models."
EPILOGUE = "Every verb: exit code 2 and one line for a mistake of the user; --debug anywhere shows tracebacks."


def build_app() -> App:
    """The command with all its verbs; no verb's file is imported yet."""
    app = App(
        name="openankh",
        help=HELP,
        help_epilogue=EPILOGUE,
        help_format="plaintext",
        version=f"openankh {__version__}",
        print_error=False,
        exit_on_error=False,
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    for verb, summary in VERBS.items():
        app.command(f"openankh.cli.{verb}:{verb}", name=verb, help=summary)
    return app
