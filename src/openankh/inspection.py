"""Tells what a file or folder is (model, corpus, embeddings, training run, predictor, FASTA) and its main facts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openankh.corpus_manifest import FORMAT as CORPUS
from openankh.corpus_manifest import MANIFEST_NAME, check_sizes
from openankh.corpus_manifest import read_manifest as read_corpus_manifest
from openankh.errors import UserError
from openankh.fasta import FastaReader, ReadOptions
from openankh.hub import cached, cached_commits
from openankh.json_file import read_json_object
from openankh.model_names import ModelName, ModelPlace, locate, parse_name
from openankh.pretraining.journal import read_journal
from openankh.provenance import check_files
from openankh.provenance import read_manifest as read_model_manifest
from openankh.published import BUNDLED
from openankh.store import EmbeddingStore
from openankh.store.exported import export_format, read_export
from openankh.store.manifest import FORMAT as STORE
from openankh.store.manifest import manifest_format
from openankh.store.provenance import Provenance
from openankh.tokenizer_files import read_vocab
from openankh.vocab import Vocab
from openankh.weight_files import Part, weight_files

RUN, RUN_RECORD = "openankh-run", "run.json"
PREDICTOR, PREDICTOR_RECORD = "openankh-predictor", "artifact.json"
_SHIPPED_PREDICTORS = Path(__file__).parent / "bundled" / "predictors"

OnBytes = Callable[[int], None]
_KNOWN = "a model, a corpus, embeddings, a training run, a predictor or FASTA"


@dataclass(frozen=True)
class Finding:
    """What stands at a path: its kind in a word or two, and its facts by name."""

    kind: str
    path: str
    facts: Mapping[str, Any]


def inspect(path: str, on_bytes: OnBytes | None = None) -> Finding:
    """Find out what a path (or "-", FASTA on standard input) is, or what a name stands for; nothing is fetched.

    `on_bytes` is told the bytes read so far of a FASTA file, which is read to its end. Raises UserError for a path that
    does not exist and names no model, is nothing this package knows, or is damaged.
    """
    place = Path(path)
    if place.is_dir():
        return _inspect_folder(place)
    if path != "-" and not place.exists():
        shipped = _SHIPPED_PREDICTORS / path
        return _inspect_predictor(shipped) if _is_shipped(shipped) else _inspect_name(path)
    if place.is_file():
        with open(place, "rb") as file:
            head = file.read(8)
        if export_format(head) is not None:
            return _inspect_export(place)
    return _inspect_fasta(path, on_bytes)


def _is_shipped(folder: Path) -> bool:
    """Whether this is a predictor of the package, called by its bare name."""
    return folder.parent == _SHIPPED_PREDICTORS and (folder / PREDICTOR_RECORD).is_file()


def _inspect_folder(folder: Path) -> Finding:
    if (folder / RUN_RECORD).is_file():
        return _inspect_run(folder)
    if (folder / PREDICTOR_RECORD).is_file():
        return _inspect_predictor(folder)
    if (folder / "state.json").is_file():
        raise UserError(
            f"{folder}: a checkpoint inside a training run; give the run's folder, or its best/ for the model"
        )
    if (folder / "config.json").is_file():
        return _inspect_model(locate(folder))
    if not (folder / MANIFEST_NAME).is_file():
        raise UserError(f"{folder}: no {_KNOWN}; it has neither {MANIFEST_NAME} nor config.json nor {RUN_RECORD}")
    kind = manifest_format(folder / MANIFEST_NAME)
    if kind == CORPUS:
        return _inspect_corpus(folder)
    if kind == STORE:
        return _inspect_store(folder)
    raise UserError(f"{folder}: its {MANIFEST_NAME} is of format {kind!r}, which is not {_KNOWN}")


def _inspect_fasta(path: str, on_bytes: OnBytes | None) -> Finding:
    num_proteins = num_residues = longest = 0
    shortest: int | None = None
    reader = FastaReader(path, ReadOptions(unknown="x"))
    for record in reader:
        length = len(record.sequence)
        num_proteins, num_residues = num_proteins + 1, num_residues + length
        longest, shortest = max(longest, length), length if shortest is None else min(shortest, length)
        if on_bytes is not None:
            on_bytes(reader.bytes_read)
    facts = {
        "num_proteins": num_proteins,
        "num_residues": num_residues,
        "shortest": shortest,
        "mean_length": num_residues / num_proteins,
        "longest": longest,
        "num_lower_case": reader.counts.upper_cased,
        "num_final_stops": reader.counts.stops_dropped,
        "num_unknown_letters": reader.counts.unknown_replaced,
    }
    return Finding("FASTA", path, facts)


def _inspect_corpus(folder: Path) -> Finding:
    manifest = read_corpus_manifest(folder)
    for split in manifest.splits.values():
        check_sizes(folder, split)
    splits = {
        name: {"proteins": split.num_proteins, "residues": split.num_residues, "longest": split.longest}
        for name, split in manifest.splits.items()
    }
    facts = {
        **splits,
        "vocabulary": _vocab_facts(Vocab(manifest.pieces)),
        "sources": [source.name for source in manifest.sources],
        "fingerprint": manifest.fingerprint,
    }
    return Finding("corpus", str(folder), facts)


def _inspect_store(folder: Path) -> Finding:
    store = EmbeddingStore.open(folder)
    counts = {"num_proteins": len(store), "num_residues": store.num_residues}
    return Finding("embeddings", str(folder), {"format": "folder", **counts, **_embedding_facts(store.provenance)})


def _inspect_export(path: Path) -> Finding:
    export = read_export(path)
    facts = {"format": export.format, "num_proteins": export.num_records, **_embedding_facts(export.provenance)}
    return Finding("embeddings", str(path), facts)


def _embedding_facts(provenance: Provenance) -> Mapping[str, Any]:
    return {
        "rows": "one a residue" if provenance.is_per_residue else "one a protein",
        **provenance.to_json(),
    }


def _inspect_name(name: str) -> Finding:
    """What a name stands for: the bundled model, one of the hub that is here, or a published one that is not."""
    if name == BUNDLED:
        return _inspect_model(locate(BUNDLED))
    try:
        wanted = parse_name(name)
    except UserError as error:
        near = str(error).rpartition("; ")[2] if "did you mean" in str(error) else "check the spelling"
        raise UserError(f"{name}: no such file or folder, nor a model of that name; {near}") from None
    parts: tuple[Part, ...] = ("all", "encoder")
    for part in parts:
        if folder := cached(wanted.repository, revision=wanted.revision, part=part, trust_pickle=True):
            return _inspect_model(ModelPlace(wanted.name, folder, wanted.repository, folder.name, wanted.published))
    if wanted.published is None:
        raise UserError(
            f"{name}: no such file or folder here, nor that model of the hub; a verb that takes -m {name} fetches it"
        )
    return Finding("model", name, _published_facts(wanted))


def _published_facts(wanted: ModelName) -> Mapping[str, Any]:
    """What is known of a published model that is not on this machine."""
    model = wanted.published
    assert model is not None
    return {
        "name": model.name,
        "repository": model.hub,
        "revision": wanted.revision or "the newest, told when it is fetched",
        "here": "not whole, or another revision" if cached_commits(model.hub) else "no, fetched when first used",
        "licence": model.licence,
        "paper": model.paper,
        "num_parameters": model.num_parameters,
        "num_encoder_parameters": model.num_encoder_parameters,
        "vocabulary": {"pieces": model.alphabet.size, "residues": model.alphabet.residues},
    }


def _inspect_model(place: ModelPlace) -> Finding:
    # Brings torch, which nothing else here needs.
    from openankh.checkpoint import read_config

    folder = place.folder
    config = read_config(folder)
    manifest = read_model_manifest(folder)
    missing = {name for name in weight_files(folder) if not (folder / name).exists()}
    missing_of_encoder = missing & set(weight_files(folder, "encoder"))
    if manifest is not None:
        check_files(folder, manifest, hashes=False, unread=missing - missing_of_encoder)
    facts: dict[str, Any] = {
        "name": place.published.name if place.published else manifest.provenance.name if manifest else place.name,
        **({"repository": place.repository, "revision": place.commit} if place.commit else {}),
        "here": f"not whole, {min(missing)} is missing" if missing_of_encoder else "encoder" if missing else "whole",
        "licence": place.licence(manifest.provenance.licence if manifest else "") or "not stated",
        "dtype": manifest.dtype if manifest else _stated_dtype(folder),
        **({"paper": place.published.paper} if place.published else {}),
    }
    facts |= {
        "num_parameters": config.num_parameters,
        "num_encoder_parameters": config.num_encoder_parameters,
        "num_encoder_layers": config.num_encoder_layers,
        "num_decoder_layers": config.num_decoder_layers,
        "width": config.d_model,
        "heads": f"{config.num_heads} of {config.d_kv}",
        "feed_forward": f"{config.d_ff}, {'gated ' if config.gated else ''}{config.activation}",
        "vocabulary": _vocab_facts(read_vocab(folder)),
        "weights": sorted({*weight_files(folder)} - missing),
        "num_bytes": sum(path.stat().st_size for path in folder.iterdir() if path.is_file()),
    }
    if manifest is not None:
        facts |= {
            "code_version": manifest.provenance.code_version,
            "training": _plain_facts(manifest.provenance.training),
        }
    return Finding("model", str(folder), facts)


def _stated_dtype(folder: Path) -> str | None:
    """The type of the weights as config.json states it, under its old or its new name."""
    config = read_json_object(folder / "config.json")
    stated = config.get("torch_dtype") or config.get("dtype")
    return str(stated) if stated else None


def _vocab_facts(vocab: Vocab) -> Mapping[str, Any]:
    return {"pieces": vocab.size, "residues": vocab.letters, "sentinels": vocab.num_sentinels}


def _inspect_run(folder: Path) -> Finding:
    record = read_json_object(folder / RUN_RECORD)
    recipe = record.get("recipe")
    if record.get("format") != RUN or not isinstance(recipe, dict):
        raise UserError(f"{folder / RUN_RECORD}: not a record of openankh pretrain; give the folder of a run")
    lines = read_journal(folder) if (folder / "journal.jsonl").is_file() else []
    train = next((line for line in reversed(lines) if line.get("kind") == "train"), {})
    timing = train.get("timing", {})
    facts = {
        "recipe": recipe.get("name"),
        "step": max((line["step"] for line in lines), default=0),
        "total_steps": timing.get("total_steps", recipe.get("total_steps")),
        "minutes": record.get("minutes"),
        "minutes_spent": round(timing.get("seconds", 0.0) / 60, 2),
        "training": _numbers(train),
        "speed": {name: timing[name] for name in ("tokens_a_second", "flops_utilisation") if name in timing},
        "validation": _last_validation(lines),
        "checkpoints": sorted(path.name for path in folder.glob("checkpoints/step-*") if ".tmp-" not in path.name),
        "best_model": str(folder / "best") if (folder / "best").is_dir() else None,
        "corpus_fingerprint": record.get("corpus_fingerprint"),
    }
    return Finding("training run", str(folder), facts)


def _inspect_predictor(folder: Path) -> Finding:
    """A folder of `openankh finetune`: what it predicts, by which head on which model, and how well."""
    record = read_json_object(folder / PREDICTOR_RECORD)
    try:
        if record["format"] != PREDICTOR:
            raise KeyError(PREDICTOR)
        head, target, origin, rows = (record[name] for name in ("head", "target", "origin", "preprocessing"))
        lora = f"LoRA of rank {record['lora']['r']}" if "lora" in record else ""
        facts: dict[str, Any] = {
            "task": origin["task"],
            "title": origin["title"],
            "unit": head["unit"],
            "target": target["kind"],
            "labels": target.get("names", []),
            "head": head["name"],
            "mode": "full" if "encoder" in record else lora or "frozen",
            "base_model": rows["model"],
            "base_sha256": rows["model_sha256"],
            "rows": {name: rows[name] for name in ("layer", "pool", "prefix", "precision")},
            "splits": origin["splits"],
            "weights_sha256": record["weights_sha256"],
            "code_version": record["openankh"],
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder / PREDICTOR_RECORD}: not of a predictor ({error}); train or copy it again") from None
    metrics: Mapping[str, Any] = (
        read_json_object(folder / "metrics.json") if (folder / "metrics.json").is_file() else {}
    )
    num_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Finding("predictor", str(folder), {**facts, "metrics": metrics, "num_bytes": num_bytes})


def _last_validation(lines: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """What the last validation measured; by objective where there are several."""
    valid = [line for line in lines if line.get("kind") == "valid"]
    last = [line for line in valid if line["step"] == valid[-1]["step"]]
    if len(last) > 1:
        return {line.get("objective", ""): _numbers(line) for line in last}
    return _numbers(last[0]) if last else {}


def _plain_facts(training: Mapping[str, Any]) -> Mapping[str, Any]:
    """The single values, and of what has parts (the recipe) its name; `openankh.json` in the folder has it all."""
    named = {name: value.get("name") if isinstance(value, Mapping) else value for name, value in training.items()}
    return {name: value for name, value in named.items() if value is not None}


def _numbers(line: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a line of a journal measured, without its kind and its times."""
    return {name: value for name, value in line.items() if name not in ("kind", "timing")}
