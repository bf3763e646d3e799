"""Images that are in two splits of a set: equal files, copies by name, similar pictures and neighbouring frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from detdiffusion.utils.errors import some
from detdiffusion.utils.findings import Finding

from .image_contents import Fingerprints, equal_files, fingerprints, near_pairs, samples
from .image_groups import sequences_of
from .set_findings import in_two_splits, shared_findings, split_pairs

_FRAMES = 50  # pairs of neighbouring frames to compare
_LIKELY = 0.5  # share of them that must look alike to be a video
_FRAME_BITS = 10


def content_findings(
    paths: Mapping[str, Sequence[Path]], where: str, sample: int, progress: bool = True
) -> list[Finding]:
    """Find images that two splits share, and images that a split has twice.

    Args:
        paths: split -> its image files.
        where: the data set, for the findings.
        sample: number of images of each split that are compared for similarity; 0 skips this. Equal files are always
            found.
        progress: show progress on stderr.
    """
    real = {split: [path.resolve() for path in files] for split, files in paths.items()}
    found = shared_findings({split: list(map(str, files)) for split, files in real.items()}, where, "error")
    digests = equal_files(path for files in real.values() for path in files)
    pairs = split_pairs({split: set(files) for split, files in real.items()})
    for first, second in pairs:
        known = {digests[path]: path for path in real[first] if path in digests}
        both = [p for p in real[second] if p in digests and digests[p] in known and known[digests[p]] != p]
        if both:
            items = [f"{known[digests[path]].name} = {path.name}" for path in both]
            found.append(in_two_splits("file with the same content", where, items, first, second, "error"))
    for split in dict.fromkeys(name for pair in pairs for name in pair) or real:
        found += _twice(real[split], digests, where, split)
    if sample:
        chosen = samples(real, sample)
        prints = {
            split: fingerprints(chosen[split], progress)
            for split in dict.fromkeys(n for pair in pairs for n in pair)
        }
        for first, second in pairs:
            found += _similar(prints[first], prints[second], digests, where, first, second)
            found += _frames(real[first], real[second], where, first, second)
        if pairs and any(len(files) > sample for files in real.values()):
            found.append(
                Finding(
                    where,
                    "",
                    f"only {sample} images of each split were compared for similarity",
                    remedy="raise `sample` to compare more",
                    severity="note",
                )
            )
    return found


def _twice(files: Sequence[Path], digests: Mapping[Path, str], where: str, split: str) -> list[Finding]:
    first: dict[str, Path] = {}
    repeated = [(first[d], p) for p in files if (d := digests.get(p)) and first.setdefault(d, p) != p]
    if not repeated:
        return []
    return [
        Finding(
            where,
            some(f"{a.name} = {b.name}" for a, b in repeated),
            f"image that {split} has twice under different names",
            remedy="keep one of them, with the objects of both",
            severity="warning",
            count=len(repeated),
        )
    ]


def _similar(
    first: Fingerprints, second: Fingerprints, digests: Mapping[Path, str], where: str, name: str, other: str
) -> list[Finding]:
    alike = [
        (a, b)
        for a, b in near_pairs(first, second)
        if a != b and (a not in digests or digests[a] != digests.get(b))
    ]
    if not alike:
        return []
    items = [f"{a.name} ~ {b.name}" for a, b in alike]
    return [in_two_splits("image that looks nearly the same", where, items, name, other, "warning")]


def _frames(
    first: Sequence[Path], second: Sequence[Path], where: str, name: str, other: str
) -> list[Finding]:
    """Find sequences whose neighbouring frames are in two splits, if they look alike."""
    names = [path.as_posix() for path in (*first, *second)]
    frames = sequences_of([Path(text).name for text in names])
    ordered = sorted((f, k) for k, f in enumerate(frames) if f is not None)
    apart = [
        (a, b)
        for ((sequence, _), a), ((later, _), b) in zip(ordered, ordered[1:])
        if sequence == later and (a < len(first)) != (b < len(first))
    ]
    if not apart:
        return []
    checked = apart[:: -(-len(apart) // _FRAMES)]
    prints = fingerprints([Path(names[k]) for pair in checked for k in pair], progress=False)
    hash_of = dict(zip(prints.paths, prints.hashes))
    alike = 0
    for a, b in checked:
        one, two = hash_of.get(Path(names[a])), hash_of.get(Path(names[b]))
        alike += one is not None and two is not None and int(one ^ two).bit_count() <= _FRAME_BITS
    if alike < _LIKELY * len(checked):
        return []
    items = [f"{Path(names[a]).name} and {Path(names[b]).name}" for a, b in apart]
    return [in_two_splits("pair of neighbouring frames", where, items, name, other, "warning")]
