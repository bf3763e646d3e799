"""One rank's part of a generation run, from the opened set to the finished one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

from detdiffusion.generation.background import BackgroundWriter
from detdiffusion.generation.disk import DiskGuard
from detdiffusion.generation.generate import generate
from detdiffusion.generation.options import SetFiles
from detdiffusion.generation.planning import Drawing, batches_to_draw
from detdiffusion.generation.real_images import RealSource
from detdiffusion.generation.writer import CocoWriter
from detdiffusion.utils.progress import Progress
from detdiffusion.utils.ranks import Ranks
from detdiffusion.visualization.preview import LivePreview


@dataclass
class Session:
    """One rank's part of a run.

    Attributes:
        ranks: all processes of the run.
        writer: writer of the opened set.
        drawings: the images of all ranks.
        batch_size: images per batch on each rank.
        files: options of the set's files.
        disk: checks the free disk space.
        done: ids of the images that already exist.
        missing: number of images that do not exist yet.
    """

    ranks: Ranks
    writer: CocoWriter
    drawings: list[Drawing]
    batch_size: int
    files: SetFiles
    disk: DiskGuard = field(init=False)
    done: set[int] = field(init=False)
    missing: int = field(init=False)

    def __post_init__(self) -> None:
        self.disk = DiskGuard(Path(self.files.out), round(self.files.min_free_mb * 1e6))
        self.done = set(self.writer.done)
        self.missing = sum(drawing.image_id not in self.done for drawing in self.drawings)

    def introduce(self, seed: int, strategy: str, layouts: int) -> None:
        """Print on rank 0 what this run is going to do.

        Args:
            seed, strategy: seed and strategy of the set.
            layouts: number of layouts that are used.
        """
        report = self.writer.report
        found = {reason: count for reason, count in report.items() if count}
        self.ranks.print(
            f"{Path(self.files.out)}: {len(self.drawings)} images of {layouts} layouts, strategy {strategy}, "
            f"seed {seed}"
            + (f", {self.ranks.size} ranks" if self.ranks.size > 1 else "")
            + (f"; continuing: {', '.join(f'{k} {v}' for k, v in found.items())}" if found else "")
        )
        if self.files.verify:
            bad = report["missing_files"] + report["damaged_files"]
            self.ranks.print(
                f"verified {report['resumed'] + bad} files: {report['damaged_files']} damaged, "
                f"{report['missing_files']} missing, {report['stray_files']} stray"
            )

    def run(
        self,
        infer: Callable[..., dict],
        preview: LivePreview,
        progress: Progress,
        real: RealSource | None = None,
    ) -> dict:
        """Generate this rank's share; rank 0 then finishes the set.

        Args:
            infer: see :func:`detdiffusion.generation.generate.generate`.
            preview: receives every image.
            progress: receives the number of images after every batch, those of the other ranks' earlier batches too.
            real: reads the real images to start from.

        Returns:
            The counts of :func:`detdiffusion.apis.generation.generate_dataset`.
        """
        start, rank = time.perf_counter(), self.ranks.rank
        with BackgroundWriter(self.writer, depth=max(16, 2 * self.batch_size)) as background:

            def add(image, record, annotations, extra) -> None:
                background.add(image=image, record=record, annotations=annotations, extra=extra)
                preview.add(image, annotations)

            counts = generate(infer, self._own_batches(progress), self.done, add, real)
        counts["seconds"] = time.perf_counter() - start
        if rank:
            self.writer.close()
        counts = self.ranks.total(counts)
        if rank == 0:
            preview.write()
            path = self.writer.finish()
            counts.update(already_there=len(self.drawings) - self.missing, **self.writer.report)
            if self.files.verify:
                bad = counts["missing_files"] + counts["damaged_files"]
                counts["verified"] = counts["resumed"] + bad
                counts["repaired"] = len(self.writer.lost & self.writer.done)
            self._print_summary(path, counts)
        return counts

    def _own_batches(self, progress: Progress) -> Iterator[list[Drawing]]:
        """Yield the batches of this rank, each when the last one is done; ranks take them in the order of the plan."""
        batches = batches_to_draw(self.drawings, self.done, self.batch_size)
        missing = [sum(drawing.image_id not in self.done for drawing in batch) for batch in batches]
        reached = list(accumulate(missing))
        for index in self.ranks.claim(len(batches)):
            self.ranks.check_launcher()
            self.disk.check()
            yield batches[index]
            progress(reached[index], self.missing)

    def _print_summary(self, path: Path, counts: dict) -> None:
        line = (
            f"{path}: {len(self.writer)} images; now written {counts['written']}, already there "
            f"{counts['already_there']}; objects prompted now {counts['objects']}, not prompted (no room) "
            f"{counts['objects_not_prompted']}"
        )
        if counts["in_smaller_batches"]:
            line += f"; generated in smaller batches because memory ran out {counts['in_smaller_batches']}"
        print(line)
        if "repaired" in counts:
            lost = counts["missing_files"] + counts["damaged_files"] - counts["repaired"]
            line = f"repaired {counts['repaired']} files (generated again, checksums rewritten)"
            if lost:
                line += f"; {lost} are beyond --limit and --samples-per-image of this command"
            print(line)
