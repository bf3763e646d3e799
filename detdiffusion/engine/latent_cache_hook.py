"""Fills the cache of latents and masks before the first step; ranks share the work."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import time
from datetime import timedelta
from pathlib import Path

import torch
from mmengine.dist import barrier, get_dist_info
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ..registry import HOOKS
from ..structures import FLIPS
from ..utils.errors import UserError
from .image_check import check_images_of


@HOOKS.register_module()
class LatentCacheHook(Hook):
    """For a model with ``cache_latents``: the frozen VAE sees every image, and its mirror images, once and for all.

    The data set then gives the posterior's mean and deviation in place of the image, which is not read again, and
    masks without decoding polygons. Latents are still sampled anew in every step.

    Args:
        batch_size: images encoded at a time.
        say_every: seconds between lines on how far a part is.
    """

    priority = "LOWEST"

    def __init__(self, batch_size: int = 16, say_every: float = 15.0) -> None:
        self.batch_size, self.say_every = batch_size, say_every

    def before_train(self, runner: Runner) -> None:
        """Makes what is missing and hands the cache to the training data set.

        Raises:
            UserError: no room on the disk, or a pipeline that cannot be cached.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        where = getattr(model, "cache_latents", False)
        loader = runner.train_loop.dataloader
        if not where:
            return
        if not hasattr(loader.dataset, "sample_cache"):
            kind = type(loader.dataset).__name__
            print_log(
                f"cache_latents: a {kind} cannot be cached; every step encodes", logger="current", level=30
            )
            return
        folder = Path(runner.work_dir, "latent_cache") if where is True else Path(where)
        with _whole(runner.model):
            cache = self._fill(folder, loader, model)
        cache.open()
        loader.dataset.use_sample_cache(cache)

    def _fill(self, folder: Path, loader, model):
        cache = loader.dataset.sample_cache(folder, model.vae)
        if cache.missing():
            self._check_room(cache, model)
            check_images_of(loader.dataset)
            print_log(
                f"latents of {cache.count} images, made once in {cache.folder}: {len(cache.missing())} of "
                f"{len(cache.shards())} parts to make",
                logger="current",
            )
        rank, world = get_dist_info()
        # the second round is for a machine whose folder the others do not share
        local = int(os.environ.get("LOCAL_RANK", rank)), int(os.environ.get("LOCAL_WORLD_SIZE", world))
        for mine, all_of in ((rank, world), local):
            for shard in cache.missing():
                if shard % all_of == mine:
                    self._make(cache, shard, loader, model)
            barrier()
        return cache

    @torch.no_grad()
    def _make(self, cache, shard: int, loader, model) -> None:
        images = cache.shards()[shard]
        source = torch.utils.data.DataLoader(
            _Unflipped(loader.dataset, images),
            batch_size=self.batch_size,
            num_workers=min(loader.num_workers, len(images) // self.batch_size),
            collate_fn=list,
            generator=torch.Generator(),  # its own: the global random state stays as it is
        )
        moments, masks = [], []
        start = said = time.monotonic()
        for batch in source:
            inputs = model.data_preprocessor(dict(inputs=[image for image, _ in batch]), False)["inputs"]
            versions = [inputs, *(inputs.flip(FLIPS[flip]) for flip in cache.flips)]
            pairs = [torch.stack(model.posterior(x), dim=1) for x in versions]
            moments.append(torch.stack(pairs, dim=1).half().cpu())
            masks += [mask for _, mask in batch]
            now, done = time.monotonic(), len(masks)
            if now - said > self.say_every and done < len(images):
                said, left = now, timedelta(seconds=round((now - start) / done * (len(images) - done)))
                part = f"part {shard + 1} of {len(cache.shards())}"
                print_log(f"latents: {part}, {done} of {len(images)} images, {left} left", logger="current")
        cache.write(shard, torch.cat(moments), masks)
        print_log(f"latents: part {shard + 1} of {len(cache.shards())} written", logger="current")

    @staticmethod
    def _check_room(cache, model) -> None:
        image = 4 * (1 + len(cache.flips)) * math.prod(model.latent_shape(*cache.size))
        needed = cache.count * image * len(cache.missing()) // len(cache.shards())
        folder = cache.folder
        while not folder.is_dir():
            folder = folder.parent
        free = shutil.disk_usage(folder).free
        if needed > free or not os.access(folder, os.W_OK):
            why = (
                f"needs {needed / 1e9:.1f} GB and has {free / 1e9:.1f}"
                if needed > free
                else "cannot be written"
            )
            raise UserError(
                f"cache_latents: {folder} {why}; name another folder by model.cache_latents=DIR, or switch it off "
                "by model.cache_latents=False"
            )


def _whole(model):
    """Inside it, a model that FSDP shards has all of its weights on every rank."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    if isinstance(model, FullyShardedDataParallel):
        return FullyShardedDataParallel.summon_full_params(model, writeback=False)
    return contextlib.nullcontext()


class _Unflipped(torch.utils.data.Dataset):
    """Images (3, H, W) uint8 and masks of some samples, as the pipeline loads them before it draws anything."""

    def __init__(self, dataset, indices: range) -> None:
        self.dataset, self.indices = dataset, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, number: int):
        results = self.dataset.load(self.indices[number])
        masks = results["layout"].masks
        image = torch.from_numpy(results["img"]).permute(2, 0, 1)
        return image, None if masks is None else masks.numpy()
