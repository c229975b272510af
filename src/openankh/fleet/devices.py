"""Which devices of this machine embed together, from what a user asks for."""

from openankh.errors import UserError


def choose_devices(names: str | None = None, device: str = "auto") -> tuple[str, ...]:
    """The devices to run on: `all` CUDA GPUs, or those named, as in `0,1`, `cuda:0,cuda:1` or `cpu,cpu`.

    None is `device` alone, and all GPUs where that is `auto`; the CPU where there is no GPU. Raises UserError for
    devices that are not there, and for both `names` and a device.
    """
    if names is None:
        return _all_gpus() if device == "auto" else (device,)
    if device != "auto":
        raise UserError(f"--device {device} and --devices {names} are two answers to one question; give one of them")
    if names == "all":
        return _all_gpus()
    return tuple(_checked(name.strip(), names) for name in names.split(","))


def _all_gpus() -> tuple[str, ...]:
    import torch

    number = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return tuple(f"cuda:{index}" for index in range(number)) or ("auto",)


def _checked(name: str, names: str) -> str:
    from openankh.hardware import choose_device

    if not name:
        raise UserError(f"--devices {names}: a name is missing; write all, or names as in 0,1 or cpu,cpu")
    device = f"cuda:{name}" if name.isdecimal() else name
    return str(choose_device(device))
