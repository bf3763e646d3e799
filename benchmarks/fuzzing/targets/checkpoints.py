"""``tools/model_converters/to_diffusers.py`` on damaged checkpoints."""

from __future__ import annotations

from pathlib import Path

from ..case import Case, Run
from ..verdict import Account
from .generation import write_generator
from .target import Target, damage_some


def damage_checkpoint(path: Path, rng) -> str:
    """Change one thing in a checkpoint of tensors; return a description."""
    import torch

    stored = torch.load(path, weights_only=True)
    state = stored["state_dict"]
    names = [n for n, v in state.items() if v.is_floating_point() and v.numel() > 1]
    name = rng.choice(names)
    ways = {
        "NaN": lambda: state[name].view(-1)[:1].fill_(float("nan")),
        "infinite": lambda: state[name].view(-1)[:1].fill_(float("inf")),
        "all NaN": lambda: [state[n].fill_(float("nan")) for n in names],
        "missing": lambda: state.pop(name),
        "transposed": lambda: state.__setitem__(name, state[name].unsqueeze(0)),
        "of one value more": lambda: state.__setitem__(
            name, torch.cat([state[name].view(-1), torch.zeros(1)])
        ),
        "as integers": lambda: state.__setitem__(name, state[name].long()),
        "in half precision": lambda: state.__setitem__(name, state[name].half()),
        "complex": lambda: state.__setitem__(name, state[name] + 0j),
        "a list": lambda: state.__setitem__(name, state[name].tolist()),
        "a number": lambda: state.__setitem__(name, 3),
        "None": lambda: state.__setitem__(name, None),
        "renamed": lambda: state.__setitem__("model." + name, state.pop(name)),
        "under a number": lambda: state.__setitem__(7, state.pop(name)),
        "with 'module.' in front": lambda: [
            state.__setitem__("module." + n, state.pop(n)) for n in list(state)
        ],
        "one too many": lambda: state.__setitem__("unet.extra", torch.zeros(2)),
    }
    whole = {
        "an empty dict": {},
        "a list": [1, 2],
        "a tensor": torch.zeros(3),
        "state_dict None": dict(state_dict=None),
        "state_dict a list": dict(state_dict=[]),
        "meta a text": dict(state_dict=state, meta="x"),
        "plain state dict": state,
        "classes a number": dict(state_dict=state, meta=dict(dataset_meta=dict(classes=3))),
    }
    way = rng.choice([*ways, *whole])
    if way in ways:
        ways[way]()
    torch.save(stored if way in ways else whole[way], path)
    return f"{path.name}: {name + ' ' if way in ways else ''}{way}"


class ToDiffusers(Target):
    """A generator's checkpoint."""

    name, tool = "to_diffusers", "model_converters/to_diffusers.py"
    imports = (
        "detdiffusion.models.editors.converters.diffusers_folder",
        "detdiffusion.models",
        "diffusers",
        "transformers",
    )

    def prepare(self, base: Path) -> None:
        write_generator(base)

    def damage(self, case: Case) -> None:
        path = case.source / "weights.pth"
        if case.rng.random() < 0.7:
            case.damages.append(damage_checkpoint(path, case.rng))
        else:
            damage_some(case, {"text": ["weights.pth"]}, 1)

    def arguments(self, case: Case) -> list[str]:
        return [str(case.base / "config.py"), str(case.source / "weights.pth"), str(case.out)]

    def judge(self, case: Case, run: Run) -> Account:
        """Check that the folder contains every tensor of the checkpoint's UNet, and that all values are finite."""
        import torch
        from safetensors.torch import load_file

        account = Account()
        try:
            stored = torch.load(case.source / "weights.pth", weights_only=True)
        except Exception:
            return Account(wrong=["exported out of a file that torch cannot read"])
        state = stored.get("state_dict", stored)
        state = {str(name).removeprefix("module."): value for name, value in state.items()}
        written = load_file(case.out / "unet/diffusion_pytorch_model.safetensors")
        for name, tensor in written.items():
            held = state.get(f"unet.{name}")
            if not isinstance(held, torch.Tensor) or not torch.allclose(
                held.float(), tensor.float(), equal_nan=True
            ):
                account.wrong.append(f"unet.{name} is not that of the checkpoint")
        broken = [
            n
            for n, v in state.items()
            if isinstance(v, torch.Tensor) and v.is_floating_point() and not v.isfinite().all()
        ]
        if broken:
            account.wrong.append(f"exported with {broken[0]} not finite")
        return account
