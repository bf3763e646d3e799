"""Trainings of a tiny generator, each in a process of its own: forked_runs.py ROOT CASE [CASE ...].

One process imports everything once and forks them. ``iterations`` and ``epochs``: undisturbed, and again with a
SIGKILL at a random moment and a resume. ``sharded``: two ranks by DDP, and two by the FSDP strategy of
detdiffusion_fsdp_coco.py.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
STEPS = 10

CONFIG = f"""
_base_ = [{str(ROOT / "configs/detdiffusion_miniscenes.py")!r}]
model = dict(null_text_prob=0.5)
default_hooks = dict(checkpoint=dict(interval=3, by_epoch=False), logger=dict(interval=1))
log_processor = dict(window_size=1)
"""
CASES = {
    # one stream of samples, loaded by the process itself, with cached latents
    "iterations": "train_cfg = dict(max_iters=max_iters)\n"
    "train_dataloader = dict(batch_size=2, dataset=dict(filter_cfg=dict(min_objects=1)))\n",
    # epochs of 4 steps with two workers and batches of one size: checkpoints lie within them
    "epochs": "model.update(cache_latents=False)\n"
    "train_cfg = dict(_delete_=True, type='ResumableEpochLoop', max_epochs=3)\n"
    "train_dataloader = dict(batch_size=2, num_workers=2, persistent_workers=True, drop_last=False,\n"
    "    batch_sampler=dict(type='SameSizeBatchSampler', drop_last=True),\n"
    "    sampler=dict(_delete_=True, type='SeededSampler', shuffle=True),\n"
    "    dataset=dict(filter_cfg=dict(min_objects=1)))\n",
}

SHARED = """
runner_type = "detdiffusion.ShardedRunner"
custom_hooks = []
model.update(grounding_loss=None)
max_iters = 4
train_cfg = dict(max_iters=max_iters)
train_dataloader = dict(batch_size=2, dataset=dict(filter_cfg=dict(min_objects=1)))
param_scheduler = []
optim_wrapper = dict(clip_grad=dict(max_norm=0.05))
default_hooks["checkpoint"].update(interval=4)
randomness = dict(diff_rank_seed=False)  # FSDP does not copy the first rank's start on a CPU
"""


def train(config: Path, options: list[str], work_dir: Path, resume: bool, launcher: str = "none") -> None:
    """What ``tools/train.py CONFIG --work-dir DIR [--resume]`` does."""
    from detdiffusion.engine import launch
    from detdiffusion.utils.config import load_config

    cfg = load_config(str(config), options)
    cfg.work_dir, cfg.resume = str(work_dir), resume
    launch.prepare_ranks(cfg, launcher)
    launch.build_runner(cfg).train()


def fork(log: Path, *args, **environment: str) -> int:
    """A training in a process of its own."""
    pid = os.fork()
    if pid == 0:
        code = 1
        os.environ.update(environment)
        try:
            with log.open("a") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
                train(*args)
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def curve(work_dir: Path) -> list[dict]:
    """The logged steps of all runs of a work dir, in order; of a step that was done twice, the later one."""
    steps = {}
    for file in sorted(work_dir.rglob("scalars.json"), key=lambda p: p.stat().st_mtime):
        for line in file.read_text().splitlines():
            entry = json.loads(line) if line.endswith("}") else {}
            if "loss" in entry:
                keys = ("loss", "loss_ldm", "loss_pa", "loss_grounding", "lr", "grad_norm")
                steps[entry["step"]] = {key: entry[key] for key in keys if key in entry}
    return [steps[step] for step in sorted(steps)]


def wait(pid: int, log: Path) -> None:
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        sys.exit(f"training ended with {status}:\n{log.read_text()[-3000:]}")


def main() -> None:
    root = Path(sys.argv[1])
    import torch  # noqa: F401
    from tiny_folder import write_diffusers_folder

    from detdiffusion import datasets, engine, models  # noqa: F401
    from detdiffusion.datasets.miniscenes import write_miniscenes

    write_miniscenes(root / "data", "train", 9, size=64)
    attributes = {}
    for kind, word in (("instances", "hard"), ("stuff", "background")):
        data = json.loads((root / f"data/train/{kind}.json").read_text())
        attributes.update({a["id"]: word for a in data["annotations"]})
    (root / "attributes.json").write_text(json.dumps(dict(info={}, attributes=attributes)))
    options = [f"layout_folder={write_diffusers_folder(root / 'tiny')}", f"data_root={root / 'data'}"]
    options += [f"attributes_file={root / 'attributes.json'}"]
    for case in sys.argv[2:]:
        (shard if case == "sharded" else kill)(root, case, options)


def kill(root: Path, case: str, options: list[str]) -> None:
    """Undisturbed, and killed and resumed."""
    from detdiffusion.engine import latest_checkpoint

    config, log = root / f"{case}.py", root / f"{case}.log"
    config.write_text(f"{CONFIG}max_iters = {STEPS}\n{CASES[case]}")
    whole, killed = root / case / "whole", root / case / "killed"
    wait(fork(log, config, options, whole, False), log)
    at = random.randrange(4, STEPS)
    pid = fork(log, config, options, killed, False)
    while len(curve(killed)) < at:
        time.sleep(0.02)
        if os.waitpid(pid, os.WNOHANG)[0]:
            sys.exit(f"the run to kill ended by itself:\n{log.read_text()[-3000:]}")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    before = len(curve(killed))
    saved = latest_checkpoint(killed)
    wait(fork(log, config, options, killed, True), log)
    result = dict(whole=curve(whole), killed=curve(killed), at=before, checkpoint=saved.name)
    (root / f"{case}.json").write_text(json.dumps(result))


def shard(root: Path, case: str, options: list[str]) -> None:
    """Two ranks each: whole copies, and shards. Both by the runner with strategies, whose draws come in one order."""
    from mmengine.config import Config

    strategy = Config.fromfile(
        ROOT / "configs/detdiffusion_fsdp_coco.py", import_custom_modules=False
    ).strategy
    wrapper = dict(type="MMDistributedDataParallel", device_ids=None, broadcast_buffers=False)
    copies = f"strategy = {dict(type='DDPStrategy', model_wrapper=wrapper)}\n"
    shards = f"strategy = {strategy.to_dict()}\noptim_wrapper.update(type='ShardedOptimWrapper')\n"
    port = 21000 + os.getpid() % 20000
    for number, (name, more) in enumerate((("copies", copies), ("shards", shards))):
        config, log = root / f"{name}.py", root / f"{name}.log"
        config.write_text(CONFIG + SHARED + more)
        ranks = [
            fork(
                *(log, config, options, root / case / name, False, "pytorch"),
                RANK=str(rank),
                LOCAL_RANK=str(rank),
                WORLD_SIZE="2",
                LOCAL_WORLD_SIZE="2",
                MASTER_ADDR="127.0.0.1",
                MASTER_PORT=str(port + number),
            )
            for rank in range(2)
        ]
        for pid in ranks:
            wait(pid, log)
        (root / f"{name}.json").write_text(json.dumps(curve(root / case / name)))


if __name__ == "__main__":
    main()
