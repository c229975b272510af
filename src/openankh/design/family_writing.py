"""Writing proposals behind the beginnings of a family's members, at one temperature."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from openankh.design.alignment import can_align, global_identity
from openankh.design.family_prompts import Prompt, prompts
from openankh.design.family_settings import FamilySettings
from openankh.design.proposal import Making, Proposal
from openankh.fasta import Record
from openankh.generation.completion import Completion
from openankh.generation.options import CompletionOptions, Task
from openankh.generation.stretch import Stretch
from openankh.loaded import LoadedModel

ADAPTED_TASK = "continuation behind a prompt"
"""What the record of an adapted model says that it was trained to do."""


def written(
    loaded: LoadedModel,
    members: Sequence[Record],
    settings: FamilySettings,
    temperature: float,
    name: str,
    on_proposal: Callable[[int], None] = lambda num_done: None,
) -> Iterator[Proposal]:
    """`settings.num` proposals; each depends on its prompt, the settings and the seed of its round alone.

    `name` is what the model is called in their headers.
    """
    drawn = list(prompts(members, settings.prompt, settings.num, settings.seed))
    number = 0
    for turn, several in groupby(drawn, key=lambda prompt: prompt.round):
        seed = settings.seed + turn
        given = list(several)
        making = Making("family", str(settings.method_at(temperature)), name, seed, temperature)
        completer = loaded.completer(_options(loaded, settings, temperature, seed))
        records = (Record(prompt.parent.id, "", prompt.residues, 1) for prompt in given)
        for prompt, completion in zip(given, completer.complete(records), strict=True):
            number += 1
            yield _proposal(number, prompt, completion, making, settings)
            on_proposal(number)


def task_of(loaded: LoadedModel) -> Task:
    """How this model goes on behind a prompt: as it was adapted, by `[S2S]`, or by sentinels."""
    if loaded.vocab.has_prefix("[S2S]"):
        return "s2s"
    training = loaded.provenance.training if loaded.provenance else {}
    return "plain" if training.get("task") == ADAPTED_TASK else "sentinels"


def _options(loaded: LoadedModel, settings: FamilySettings, temperature: float, seed: int) -> CompletionOptions:
    task = task_of(loaded)
    least = max(settings.min_length, settings.prompt + 1)
    free = Stretch(min_length=least, max_length=settings.length)
    stretch = free if task != "sentinels" else Stretch(length=settings.length)
    return CompletionOptions(stretch, settings.method_at(temperature), seed=seed, task=task)


def _proposal(
    number: int, prompt: Prompt, completion: Completion, making: Making, settings: FamilySettings
) -> Proposal:
    """Its identity is that with the member's part of the same length limit."""
    identity = None
    if can_align():
        identity = global_identity(completion.sequence, prompt.parent.sequence[: settings.length])
    return Proposal(
        f"t{making.temperature:g}/{number}",
        completion.sequence,
        making,
        prompt.parent,
        identity,
        completion.mean_log_prob,
        kept=completion.kept,
        ended=completion.ended,
    )
