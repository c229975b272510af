"""The card of a trained model, README.md beside its weights: what it is, what made it, how good it is, its use."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from openankh.config import ModelConfig
from openankh.pretraining.run_record import RunRecord
from openankh.provenance import Provenance

_NOT_STATED = "not stated by whoever trained it"


def model_card(provenance: Provenance, record: RunRecord) -> str:
    """Markdown, with the metadata that model hubs read; all numbers are those of the run's own record."""
    training = provenance.training
    config = ModelConfig(**{name: value for name, value in training["recipe"]["model"].items() if name != "kind"})
    parts = (
        _metadata(provenance),
        _summary(provenance, config),
        _use(provenance),
        _data(training, record),
        _making(training, record),
        _validation(training),
        f"## Licence\n\n{provenance.licence or _NOT_STATED[0].upper() + _NOT_STATED[1:]}.",
    )
    return "\n\n".join(parts) + "\n"


def _metadata(provenance: Provenance) -> str:
    licence = [f"license: {provenance.licence.lower()}"] if provenance.licence else []
    return "\n".join(["---", *licence, "library_name: transformers", "tags: [protein, t5, ankh, openankh]", "---"])


def _summary(provenance: Provenance, config: ModelConfig) -> str:
    feed_forward = f"{config.d_ff} ({'gated ' if config.gated else ''}{config.activation})"
    return (
        f"# {provenance.name}\n\n"
        f"A T5 encoder-decoder for proteins, one token a residue: {config.num_parameters:,} parameters, "
        f"{config.num_encoder_layers} encoder and {config.num_decoder_layers} decoder layers of width "
        f"{config.d_model}, {config.num_heads} heads of {config.d_kv}, feed-forward {feed_forward}. Trained by "
        f"OpenAnkh {provenance.code_version}."
    )


def _use(provenance: Provenance) -> str:
    tasks = [task for task in _objectives(provenance.training["recipe"]["objective"]) if task["prefix"]]
    prefixes = "; ".join(f"`{task['prefix']}` is the prefix of {task['name']}" for task in tasks)
    told = f"\n\nPrefixes: {prefixes}. `openankh` puts them in front by itself." if tasks else ""
    return (
        "## Use\n\n"
        "```sh\nopenankh embed proteins.fasta -o embeddings.h5 --model THIS_FOLDER\n```\n\n"
        "```python\nimport openankh\nmodel = openankh.load('THIS_FOLDER')\n\n"
        "from transformers import T5EncoderModel\nencoder = T5EncoderModel.from_pretrained('THIS_FOLDER')\n```"
        f"{told}"
    )


def _data(training: Mapping[str, Any], record: RunRecord) -> str:
    lines = ["## Data", ""]
    for name, split in record.corpus.get("splits", {}).items():
        lines.append(f"- {name}: {split['proteins']:,} proteins, {split['residues']:,} residues")
    for source in record.corpus.get("sources", ()):
        lines.append(f"- made of {source['name']} (SHA-256 {source['sha256']})")
    lines.append(f"- fingerprint of the corpus: {training['corpus_fingerprint']}")
    return "\n".join(lines)


def _making(training: Mapping[str, Any], record: RunRecord) -> str:
    recipe, init = training["recipe"], training["init"]
    optimiser, packing = recipe["optimiser"], recipe["packing"]
    beginning = f"the weights of {_base_name(init['name'])}" if init else f"new weights ({recipe['initialisation']})"
    objectives = "; ".join(f"{task['name']} ({_told(task)})" for task in _objectives(recipe["objective"]))
    lines = [
        "## Training",
        "",
        f"- Recipe `{recipe['name']}`, seed {recipe['seed']}, from {beginning}",
        f"- Objective: {objectives}",
        f"- {training['step']:,} steps of {recipe['accumulation']} batches of at most {packing['tokens']:,} encoder "
        f"tokens, crops of {packing['crop']} residues: {training['encoder_tokens']:,} tokens of "
        f"{training['residues']:,} residues in {training['minutes']:g} minutes",
        f"- {optimiser['name']}, learning rate {optimiser['learning_rate']:g}, {recipe['schedule']['name']} schedule, "
        f"{recipe['warmup_steps']:,} warm-up steps, {recipe['dtype']}",
        f"- {_environment(record)}",
        "- All settings stand in `openankh.json`",
    ]
    return "\n".join(lines)


def _environment(record: RunRecord) -> str:
    known = record.environment
    code = record.code.get("sha256")
    where = ", ".join(f"{name} {known[name]}" for name in ("device", "ranks", "python", "torch") if name in known)
    return f"Begun with OpenAnkh {record.code_version}{f' (sources {code[:12]})' if code else ''}: {where}"


def _validation(training: Mapping[str, Any]) -> str:
    rows = [
        f"| {name} | {result['residue_loss']:.4f} | {math.exp(min(result['residue_loss'], 700)):.3f} "
        f"| {result['num_residues']:,} |"
        for name, result in training["validation"].items()
    ]
    if not rows:
        return "## Validation\n\nNone: the corpus has no validation split."
    head = "| task | loss of hidden residues, nats | perplexity | hidden residues |\n|---|---|---|---|\n"
    return f"## Validation\n\nOn the corpus's validation split, after step {training['step']:,}:\n\n{head}" + "\n".join(
        rows
    )


def _objectives(objective: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The single objectives of a recipe, as JSON keeps them."""
    if "shares" in objective:
        for share in objective["shares"]:
            yield from _objectives(share["objective"])
    else:
        yield objective


def _told(task: Mapping[str, Any]) -> str:
    mask = {name: value for name, value in task["mask"].items() if name != "kind"}
    settings = ", ".join(f"{name} {value}" for name, value in mask.items())
    return f"{task['mask']['kind']} {settings}, {task['presentation']['kind']}"


def _base_name(name: str) -> str:
    """A model's name; of a folder the last part alone, which tells nothing of a machine."""
    return name.rstrip("/").rpartition("/")[2] if name.startswith("/") else name
