"""What `openankh pretrain --dry-run` tells."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openankh.pretraining.dry_run import DryRun


def plan_facts(told: "DryRun", as_json: bool) -> Mapping[str, Any]:
    """A dry run by name: exact numbers for programs, rounded ones with their units for people."""
    return _numbers(told) if as_json else _texts(told)


def _numbers(told: "DryRun") -> Mapping[str, Any]:
    recipe, plan, work = told.recipe, told.plan, told.work
    return {
        "recipe": recipe.name,
        "parameters": recipe.model.num_parameters,
        "encoder_parameters": recipe.model.num_encoder_parameters,
        "shape": _shape(told),
        "optimiser": recipe.optimiser.name,
        "steps": recipe.total_steps,
        "batches_a_step": recipe.accumulation,
        "a_step": work,
        "total_tokens": round(work.num_tokens * recipe.total_steps),
        "total_residues": round(work.num_residues * recipe.total_steps),
        "epochs": told.epochs,
        "total_flops": told.total_flops,
        "device": told.device,
        "num_devices": plan.num_devices,
        "utilisation": plan.utilisation,
        "sharding": plan.engine.sharding,
        "recompute": plan.engine.recompute,
        "memory_bytes": told.memory,
        "fits": told.fits,
        "device_hours": told.device_hours,
        "days": told.days,
        "price_per_hour": plan.price_per_hour,
        "cost": told.cost,
        "disk_bytes": told.disk_bytes,
    }


def _shape(told: "DryRun") -> Mapping[str, Any]:
    model = told.recipe.model
    return {
        "encoder_layers": model.num_encoder_layers,
        "decoder_layers": model.num_decoder_layers,
        "width": model.d_model,
        "heads": model.num_heads,
        "head_width": model.d_kv,
        "feed_forward": model.d_ff,
        "activation": model.activation,
        "gated": model.gated,
        "pieces": model.vocab_size,
    }


def _texts(told: "DryRun") -> Mapping[str, str]:
    recipe, plan, work, memory, model = told.recipe, told.plan, told.work, told.memory, told.recipe.model
    gated = "gated " if model.gated else ""
    in_days = f"; {told.days:,.1f} days of {plan.num_devices}" if plan.num_devices > 1 else ""
    ways = f", sharding {plan.engine.sharding}, recompute {'on' if plan.engine.recompute else 'off'}"
    texts = {
        "recipe": recipe.name,
        "shape": f"{model.num_encoder_layers} encoder and {model.num_decoder_layers} decoder layers, "
        f"width {model.d_model}, {model.num_heads} heads of {model.d_kv}, "
        f"feed-forward {model.d_ff} {gated}{model.activation}, {model.vocab_size} pieces",
        "parameters": f"{model.num_parameters:,}, of the encoder {model.num_encoder_parameters:,}",
        "a step": f"{recipe.accumulation} batch{'' if recipe.accumulation == 1 else 'es'}, "
        f"{work.num_tokens:,.0f} encoder tokens of {work.num_proteins:,.0f} proteins, "
        f"{work.num_targets:,.0f} targets, {_power(work.flops)} FLOP",
        "steps": f"{recipe.total_steps:,}, warm-up {recipe.warmup_steps:,}, {recipe.optimiser.name}, {recipe.dtype}",
        "tokens": _tokens(work.num_tokens * recipe.total_steps)
        + (f", {told.epochs:,.3g} epochs of this corpus" if told.epochs is not None else ""),
        "operations": f"{_power(told.total_flops)} FLOP",
        f"memory of a {_noun(told)}": f"{_gigabytes(memory.peak)} at the peak{_verdict(told)}{ways}",
        "  weights": _gigabytes(memory.weights),
        "  gradients": _gigabytes(memory.gradients),
        "  optimiser": _gigabytes(memory.optimiser),
        "  activations": _gigabytes(memory.activations),
        "  between ranks": _gigabytes(memory.exchange),
        **({"  heap and kernels": _gigabytes(memory.library)} if told.device.name == "cpu" else {}),
        "  checkpoint's copy": f"{_gigabytes(memory.checkpoint)}{'' if told.device.name == 'cpu' else ', of the host'}",
        "disk": f"{_gigabytes(told.disk_bytes)}: {recipe.keep_checkpoints} checkpoints, one being written, best/ twice",
        "time": f"{told.device_hours:,.4g} hours of one {told.device.name} at {plan.utilisation:.0%} of its "
        f"{told.device.flops_a_second / 1e12:,.3g} TFLOP/s{in_days} (arithmetic)",
    }
    if told.cost is not None:
        texts["cost"] = f"{told.cost:,.2f} at {plan.price_per_hour:g} an hour"
    return texts


def _noun(told: "DryRun") -> str:
    return "process" if told.device.name == "cpu" else "GPU"


def _verdict(told: "DryRun") -> str:
    if told.fits is None or told.device.num_bytes is None:
        return ", Python and PyTorch not counted"
    size = _gigabytes(told.device.num_bytes)
    return f" of {size}" if told.fits else f" of {size}: too much; make packing.tokens smaller, recompute, or shard"


def _gigabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:,.2f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e6:,.1f} MB"


def _tokens(number: float) -> str:
    return f"{number / 1e9:,.4g} B" if number >= 1e9 else f"{number / 1e6:,.4g} M"


def _power(number: float) -> str:
    mantissa, _, exponent = f"{number:.2e}".partition("e")
    return f"{mantissa}e{int(exponent)}"
