"""A hook that fills the cache of latents and masks before the first step; ranks share the work."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import time
from collections.abc import Sequence
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
    """Encodes every image and its flipped images once by the frozen VAE, for a model with ``cache_latents``.

    The data set then returns the posterior's mean and standard deviation instead of the image, which is not read again,
    and masks without decoding polygons. Latents are still sampled from the posterior in every step.

    Args:
        batch_size: number of images encoded at a time.
        say_every: seconds between progress lines.
    """

    priority = "LOWEST"

    def __init__(self, batch_size: int = 16, say_every: float = 15.0) -> None:
        self.batch_size, self.say_every = batch_size, say_every

    def before_train(self, runner: Runner) -> None:
        """Complete the cache and pass it to the training data set.

        Raises:
            UserError: if there is not enough disk space, or the pipeline cannot be cached.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        where = getattr(model, "cache_latents", False)
        loader = runner.train_loop.dataloader
        if not where:
            return
        if not hasattr(loader.dataset, "sample_cache"):
            kind = type(loader.dataset).__name__
            print_log(
                f"cache_latents: a {kind} cannot be cached; every step encodes its images",
                logger="current",
                level=30,
            )
            return
        folder = Path(runner.work_dir, "latent_cache") if where is True else Path(where)
        with _full_weights(runner.model):
            cache = self._fill(folder, loader, model)
        cache.open()
        loader.dataset.use_sample_cache(cache)

    def _fill(self, folder: Path, loader, model):
        cache = loader.dataset.sample_cache(folder, model.vae)
        missing = cache.missing()
        if missing:
            self._check_room(cache, missing, model)
            check_images_of(loader.dataset)
            print_log(
                f"caching latents of {len(cache)} images in {cache.folder}: {len(missing)} of "
                f"{cache.num_shards} parts are missing",
                logger="current",
            )
        rank, world = get_dist_info()
        # the second round is for machines that do not share the folder
        local = int(os.environ.get("LOCAL_RANK", rank)), int(os.environ.get("LOCAL_WORLD_SIZE", world))
        for mine, all_of in ((rank, world), local):
            for shard in missing:
                if shard % all_of == mine and cache.lacks(shard):
                    self._make(cache, shard, loader, model)
            barrier()
        return cache

    @torch.no_grad()
    def _make(self, cache, shard: int, loader, model) -> None:
        images = cache.images_of(shard)
        source = torch.utils.data.DataLoader(
            _Unflipped(loader.dataset, images),
            batch_size=self.batch_size,
            num_workers=min(loader.num_workers, len(images) // self.batch_size),
            collate_fn=list,
            generator=torch.Generator(),  # keeps the loader from using the global random state
        )
        moments, masks = [], []
        start = printed = time.monotonic()
        for batch in source:
            inputs = model.data_preprocessor(dict(inputs=[image for image, _ in batch]), False)["inputs"]
            versions = [inputs, *(inputs.flip(FLIPS[flip]) for flip in cache.flips)]
            pairs = [torch.stack(model.posterior(x), dim=1) for x in versions]
            moments.append(torch.stack(pairs, dim=1).half().cpu())
            masks += [mask for _, mask in batch]
            now, done = time.monotonic(), len(masks)
            if now - printed > self.say_every and done < len(images):
                printed, left = now, timedelta(seconds=round((now - start) / done * (len(images) - done)))
                part = f"part {shard + 1} of {cache.num_shards}"
                print_log(f"latents: {part}, {done} of {len(images)} images, {left} left", logger="current")
        cache.write(shard, torch.cat(moments), masks)
        print_log(f"latents: part {shard + 1} of {cache.num_shards} written", logger="current")

    @staticmethod
    def _check_room(cache, missing: list[int], model) -> None:
        values = sum(
            len(cache.images_of(shard)) * math.prod(model.latent_shape(*cache.size_of(shard)))
            for shard in missing
        )
        needed = 4 * (1 + len(cache.flips)) * values
        folder = cache.folder
        while not folder.is_dir():
            folder = folder.parent
        free = shutil.disk_usage(folder).free
        if needed > free or not os.access(folder, os.W_OK):
            if needed > free:
                problem = f"needs {needed / 1e9:.1f} GB and has {free / 1e9:.1f}"
            else:
                problem = "cannot be written"
            raise UserError(
                f"cache_latents: {folder} {problem}; choose another folder by model.cache_latents=DIR, or disable the "
                "cache by model.cache_latents=False"
            )


def _full_weights(model):
    """Context manager in which a model sharded by FSDP has all of its weights on every rank."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    if isinstance(model, FullyShardedDataParallel):
        return FullyShardedDataParallel.summon_full_params(model, writeback=False)
    return contextlib.nullcontext()


class _Unflipped(torch.utils.data.Dataset):
    """Images (3, H, W) uint8 and masks of some samples, as loaded by the pipeline before random augmentation."""

    def __init__(self, dataset, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, number: int):
        results = self.dataset.load(self.indices[number])
        masks = results["layout"].masks
        image = torch.from_numpy(results["img"]).permute(2, 0, 1)
        return image, None if masks is None else masks.numpy()
