"""Building and checking a runner's data before its model, which may take minutes to load."""

from __future__ import annotations

import logging

from ..datasets.set_findings import object_findings, shared_findings
from ..utils.config import config_errors
from ..utils.findings import Finding, raise_errors
from .image_check import image_findings
from .run_checks import check_classes, check_sizes, check_steps, fit_schedule, parts_of


class ChecksData:
    """Mixin for mmengine's runners: :meth:`check_data` builds and checks the data loaders in :attr:`loaders`.

    Attributes:
        loaders: names of the data loaders that the run will use.
    """

    loaders: tuple[str, ...] = ("train", "val")

    def check_data(self) -> None:
        """Build and check the data loaders.

        Raises:
            UserError: if an epoch has no steps, the model's heads have another number of classes than the data, images
                are missing or unreadable (all of them are counted), or there are no objects to train on.
        """
        findings: list[Finding] = []
        used: dict[str, list[str]] = {}
        for name in self.loaders:
            loader = getattr(self, f"_{name}_dataloader", None)
            if isinstance(loader, dict):
                with config_errors(self.cfg.filename):
                    diff_rank_seed = self._randomness_cfg.get("diff_rank_seed", False)
                    loader = self.build_dataloader(loader, seed=self.seed, diff_rank_seed=diff_rank_seed)
                setattr(self, f"_{name}_dataloader", loader)
            if not hasattr(loader, "dataset"):
                continue
            place = f"{name}_dataloader"
            if hasattr(loader, "batch_sampler"):
                check_steps(place, loader, name == "train" and _by_epoch(self._train_loop))
                check_sizes(place, loader)
            findings += check_classes(self.cfg, place, loader.dataset)
            findings += self._check_images(name, loader.dataset)
            if "train" in self.loaders:
                findings += _check_objects(name, loader.dataset, used.setdefault(name, []))
        self.report([*findings, *shared_findings(used, str(self.cfg.filename))])
        if "train" in self.loaders:
            self.report(self._fit_schedule())

    def report(self, findings: list[Finding]) -> None:
        """Log notes and warnings, and raise errors."""
        for finding in findings:
            if finding.severity != "error":
                level = logging.WARNING if finding.severity == "warning" else logging.INFO
                self.logger.log(level, str(finding))
        raise_errors(findings)

    def _check_images(self, name: str, dataset) -> list[Finding]:
        """Check the images, unless a cache of latents may replace them: its hook checks those not in the cache."""
        model = self.cfg.get("model") or {}
        memory = model.get("memory") or {}
        cached = name == "train" and model.get("cache_latents", memory.get("cache_latents"))
        return [] if cached else image_findings(dataset)

    def _fit_schedule(self) -> list[Finding]:
        loader, schedule = self._train_dataloader, self.cfg.get("param_scheduler")
        if not isinstance(self._train_loop, dict) or schedule is None or not hasattr(loader, "batch_sampler"):
            return []
        findings = fit_schedule(self.cfg, len(loader))
        self.param_schedulers = self.cfg.param_scheduler
        return findings


def _check_objects(name: str, dataset, used: list[str]) -> list[Finding]:
    """Find problems with the objects of a data set, as tools/check_dataset.py does; adds the paths of its images to
    ``used``."""
    found = []
    for part in parts_of(dataset):
        table = part.object_table() if hasattr(part, "object_table") else None
        if table is not None:
            used += table.file_names
            files = getattr(part, "ann_files", None) or [getattr(part, "ann_file", "")]
            found += object_findings(table, ", ".join(map(str, files)), name)
    return found


def _by_epoch(loop) -> bool:
    return isinstance(loop, dict) and "max_epochs" in loop
