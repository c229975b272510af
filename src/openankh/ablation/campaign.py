"""An ablation: trials trained one after the other at equal compute, measured, and written up after each.

OUT/ holds ablation.json (what was begun), a folder a trial (its run, result.json, probes.json) and the write-up. The
same call goes on where it stopped: what is finished is never done again.
"""

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from openankh.ablation.campaign_record import CampaignRecord, check_same, read_record, write_record
from openankh.ablation.compute import flops_a_step, flops_in
from openankh.ablation.masked_loss import composition_loss
from openankh.ablation.measuring import measured_losses, measured_probes
from openankh.ablation.options import AblationOptions
from openankh.ablation.outcome import Result, read_probes, read_result, write_probes, write_result
from openankh.ablation.trial import Trial, baseline, chosen_experiments, planned, skipped_experiments
from openankh.ablation.write_up import require_writable_plot, write_up
from openankh.checkpoint import save_model
from openankh.corpus import Corpus
from openankh.errors import UserError
from openankh.model import Ankh
from openankh.pretraining.experiments import Identity
from openankh.pretraining.initialisation import Initialisation, initialise
from openankh.pretraining.journal import read_journal
from openankh.pretraining.progress import Progress
from openankh.pretraining.recipes import Recipe, differences, to_json
from openankh.pretraining.run_lock import run_lock
from openankh.pretraining.run_options import RunOptions
from openankh.pretraining.training_run import pretrain
from openankh.provenance import Provenance

CONTROLS: Mapping[Initialisation, str] = {
    "published": "untrained: random weights at T5's own scales",
    "eager": "untrained: the weights that these runs begin with",
}


@dataclass(frozen=True)
class Campaign:
    """What an ablation is about to do: its budget of training FLOPs a run, and the runs."""

    options: AblationOptions
    corpora: Mapping[Identity, Corpus]
    base: Recipe
    budget: float
    trials: tuple[Trial, ...]


def prepare_campaign(options: AblationOptions, progress: Progress) -> Campaign:
    """Check everything that can be checked before training, measure what minutes mean here, and plan the runs.

    Nothing is written.
    """
    chosen = chosen_experiments(options)
    corpora: dict[Identity, Corpus] = {name: Corpus.open(folder) for name, folder in options.corpora.items()}
    _require_validation(options.corpora["50"], corpora["50"])
    base = baseline(options).recipe
    for each in chosen:
        corpora[each.identity].require_vocab(each.recipe.vocab)
    record = read_record(options.out)
    if record:
        check_same(record, options, {name: corpus.fingerprint for name, corpus in corpora.items()}, base)
    if options.plot:
        require_writable_plot()
    for each in skipped_experiments(options):
        progress.say(f"{each.name} left out ({each.what}): it needs --corpus-{each.identity}")
    budget = record.budget if record else _budget(options, base, corpora["50"], progress)
    return Campaign(options, corpora, base, budget, planned(chosen, options, corpora, budget))


def run_campaign(campaign: Campaign, progress: Progress) -> bool:
    """Do all that is not done yet; False when a signal stopped it before the end."""
    options = campaign.options
    with ExitStack() as stack:
        stack.enter_context(run_lock(options.out))
        _begin(campaign)
        for initialisation, what in CONTROLS.items():
            if initialisation in ("published", campaign.base.initialisation):
                _control(campaign, initialisation, what, progress)
        for number, trial in enumerate(campaign.trials, start=1):
            folder = options.out / trial.name
            if (finished := read_result(folder)) is not None:
                _check_finished(finished, trial, folder)
            else:
                progress.say(f"{trial.name}, {number} of {len(campaign.trials)}: {trial.experiment.what}")
                if not _train(campaign, trial, folder, progress):
                    return False
            _probe(folder, options, progress)
            write_up(options.out, options.plot)
        write_up(options.out, options.plot)
    return True


def _begin(campaign: Campaign) -> None:
    """Write the record, with the corpora that have come since."""
    options, record = campaign.options, read_record(campaign.options.out)
    corpora = {name: corpus.fingerprint for name, corpus in campaign.corpora.items()}
    if record is None:
        own = (options.flops, options.minutes_each, options.probe_size)
        crop, num_tokens = campaign.base.packing.crop, campaign.base.valid_tokens
        composition = composition_loss(campaign.corpora["50"], _valid(options), crop, num_tokens)
        record = CampaignRecord(options.scale, campaign.budget, *own, corpora, to_json(campaign.base), composition)
    write_record(options.out, replace(record, corpora={**record.corpora, **corpora}))


def _require_validation(folder: Path, corpus: Corpus) -> None:
    if "valid" not in corpus.manifest.splits:
        raise UserError(f"{folder}: has no validation split to compare by; prepare it with --holdout or --valid")


def _budget(options: AblationOptions, base: Recipe, corpus: Corpus, progress: Progress) -> float:
    if options.flops is not None:
        return options.flops
    if options.minutes_each is not None:
        progress.say("measuring how much is computed in a minute")
        return flops_in(options.minutes_each, base, corpus, options.device)
    return base.total_steps * flops_a_step(base, corpus)


def _train(campaign: Campaign, trial: Trial, folder: Path, progress: Progress) -> bool:
    """Train and measure a trial; False when a signal stopped it."""
    options, experiment = campaign.options, trial.experiment
    resume = (folder / "run.json").exists()
    run = RunOptions(options.corpora[experiment.identity], folder, resume, device=options.device)
    summary = pretrain(trial.recipe, run, progress)
    if not summary.finished:
        return False
    losses = measured_losses(folder / "best", _valid(options), trial.recipe, options.device)
    result = Result(
        name=experiment.name,
        seed=trial.recipe.seed,
        what=experiment.what,
        paper_average=experiment.average,
        recipe=to_json(trial.recipe),
        num_parameters=trial.recipe.model.num_parameters,
        steps=summary.step,
        residues=summary.residues,
        flops=sum(line["flops"] for line in read_journal(folder) if line["kind"] == "train"),
        minutes=summary.minutes,
        losses=losses,
    )
    write_result(folder, result)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # a finished trial needs its model alone
    return True


def _check_finished(result: Result, trial: Trial, folder: Path) -> None:
    """Raise UserError, naming the setting, where a finished trial is not the one that is asked for."""
    if changed := differences(to_json(trial.recipe), result.recipe):
        raise UserError(
            f"{folder}: was trained with another {', '.join(changed[:3])}; go on with the same settings, "
            "or choose another folder with --out"
        )


def _control(campaign: Campaign, initialisation: Initialisation, what: str, progress: Progress) -> None:
    """Measure the baseline's network before any training."""
    options, recipe = campaign.options, campaign.base
    folder = options.out / f"untrained-{initialisation}"
    if read_result(folder) is None:
        progress.say(f"{folder.name}: {what}")
        folder.mkdir(exist_ok=True)
        model = Ankh(recipe.model)
        initialise(model, recipe.vocab, initialisation, recipe.seed)
        save_model(model, recipe.vocab, folder / "best", Provenance(f"openankh-{folder.name}"))
        losses = measured_losses(folder / "best", _valid(options), recipe, options.device)
        nothing = {"paper_average": None, "recipe": None, "steps": 0, "residues": 0, "flops": 0, "minutes": 0.0}
        num_parameters = recipe.model.num_parameters
        result = Result(
            name=folder.name, seed=recipe.seed, what=what, num_parameters=num_parameters, losses=losses, **nothing
        )
        write_result(folder, result)
    _probe(folder, options, progress)


def _probe(folder: Path, options: AblationOptions, progress: Progress) -> None:
    """Probe a trial's model where there is data to do it on and it is not done yet."""
    if options.data is None or read_probes(folder) is not None:
        return
    progress.say(f"{folder.name}: probing its embeddings")
    write_probes(folder, measured_probes(folder / "best", options.data, options.probe_size, options.device))


def _valid(options: AblationOptions) -> Corpus:
    """What all trials are measured on, whatever corpus they were trained on."""
    return Corpus.open(options.corpora["50"], "valid")
