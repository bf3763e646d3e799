"""One rank's part of a generation, from the opened set to the finished one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from detdiffusion.generation.background import BackgroundWriter
from detdiffusion.generation.disk import DiskGuard
from detdiffusion.generation.generate import generate
from detdiffusion.generation.options import SetFiles
from detdiffusion.generation.planning import Drawing, batches_to_draw
from detdiffusion.generation.writer import CocoWriter
from detdiffusion.utils.progress import Progress
from detdiffusion.utils.ranks import Ranks
from detdiffusion.visualization.preview import LivePreview


@dataclass
class Session:
    """One rank's part of a run.

    Attributes:
        ranks: all processes of the run.
        writer: of the opened set.
        drawings: of all ranks.
        batch_size: images at once on each rank.
        files: of the set.
        disk: watches the room on it.
        done: ids of images that are there already.
        missing: number of images that are not.
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
        """Prints what this run is going to do, on rank 0.

        Args:
            seed, strategy: of the set.
            layouts: number of layouts that are drawn.
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

    def run(self, infer: Callable[..., dict], preview: LivePreview, progress: Progress) -> dict:
        """Draws this rank's share; rank 0 then finishes the set for all.

        Args:
            infer: see :func:`detdiffusion.generation.generate.generate`.
            preview: gets every image.
            progress: gets the number of images after every batch.

        Returns:
            The counts of :func:`detdiffusion.apis.generation.generate_dataset`.
        """
        size, rank = self.ranks.size, self.ranks.rank
        batches = batches_to_draw(self.drawings, self.done, self.batch_size, rank, size)
        with BackgroundWriter(self.writer, depth=max(16, 2 * self.batch_size)) as background:

            def add(image, record, annotations, extra) -> None:
                background.add(image=image, record=record, annotations=annotations, extra=extra)
                preview.add(image, annotations)

            def before_batch() -> None:
                self.ranks.check_launcher()
                self.disk.check()

            def report(written: int, of: int) -> None:
                # the other ranks' shares are as large and about as far
                progress(min(written * size, self.missing), self.missing)

            counts = generate(infer, batches, self.done, add, report, before_batch)
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
            self._conclude(path, counts)
        return counts

    def _conclude(self, path: Path, counts: dict) -> None:
        print(
            f"{path}: {len(self.writer)} images; now written {counts['written']}, already there "
            f"{counts['already_there']}; objects prompted now {counts['objects']}, not prompted (no room) "
            f"{counts['objects_not_prompted']}"
            + (
                f"; drawn in smaller batches for want of memory {counts['in_smaller_batches']}"
                if counts["in_smaller_batches"]
                else ""
            )
        )
        if "repaired" in counts:
            lost = counts["missing_files"] + counts["damaged_files"] - counts["repaired"]
            print(
                f"repaired {counts['repaired']} files (drawn anew, checksums rewritten)"
                + (f"; {lost} are beyond --limit and --samples-per-image of this command" if lost else "")
            )
