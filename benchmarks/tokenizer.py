"""Compare the time per prompt of the layout tokenizer and all installed stock CLIP tokenizers.

    python benchmarks/tokenizer.py                                   # a small vocabulary of COCO's class names
    python benchmarks/tokenizer.py --tokenizer models/stable-diffusion-v1-5/tokenizer
    python benchmarks/tokenizer.py --json benchmarks/results/tokenizer.json

The stock classes get the same prompts as text, one batch per call as in training; first it is checked that they return
the same ids. Times are CPU times, the best of several alternating repeats.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

NAMES = "person bicycle car traffic-light stop-sign cat dog cup dining-table tv sky-other grass wall-brick tree road"


def random_layouts(count: int, seed: int) -> list:
    """Return layouts with 3 to 8 objects, as selected by the filter of COCO-Thing-Stuff."""
    import torch

    from detdiffusion.structures import ATTRIBUTES, Layout

    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    layouts = []
    for _ in range(count):
        number = rng.randint(3, 8)
        corners = torch.rand(number, 2, 2, generator=generator)
        boxes = torch.cat((corners.amin(1), corners.amax(1)), dim=1)
        names = rng.choices(NAMES.split(), k=number)
        layouts.append(Layout(boxes, names, rng.choices(ATTRIBUTES, k=number)))
    return layouts


def stock_tokenizers(folder: str) -> dict:
    """Return a tokenizer of each installed class; ``transformers`` 4 has a slow and a fast one, 5 only one."""
    import transformers

    found = {}
    for name in ("CLIPTokenizer", "CLIPTokenizerFast"):
        cls = getattr(transformers, name, None)
        if cls is not None and all(cls is not type(other) for other in found.values()):
            found[name] = cls.from_pretrained(folder)
    return found


def best(times: list[float], count: int) -> float:
    """Return the milliseconds per prompt."""
    return 1000 * min(times) / count


def measure(folder: str, bins: int, template: str, prompts: int, batch_size: int, repeats: int) -> dict:
    """Measure the milliseconds per prompt by class, ``layout tokenizer`` first."""
    import torch

    from detdiffusion.models.editors.detdiffusion.layout_tokenizer import LayoutTokenizer

    stock = stock_tokenizers(folder)
    ours = {
        name: LayoutTokenizer(tokenizer, bins=(bins, bins), template=template, overflow="chunk")
        for name, tokenizer in stock.items()
    }
    layouts = random_layouts(prompts, seed=0)
    batches = [layouts[i : i + batch_size] for i in range(0, prompts, batch_size)]
    first = next(iter(ours.values()))
    texts = [
        [line for text in first.encode(batch).prompts for line in text.splitlines()] for batch in batches
    ]
    for name, tokenizer in stock.items():
        for batch, lines in zip(batches, texts):
            encoded = ours[name].encode(batch)
            windows = encoded.input_ids.reshape(-1, ours[name].max_length)
            if encoded.attention_mask() is not None:
                windows = windows[encoded.attention_mask()[:, :: ours[name].max_length].flatten()]
            ids = tokenizer(
                lines, padding="max_length", max_length=ours[name].max_length, return_tensors="pt"
            ).input_ids
            assert torch.equal(ids, windows), f"{name} gives other ids"
    times: dict[str, list[float]] = {name: [] for name in ("layout tokenizer", *stock)}
    for _ in range(repeats):
        begin = time.process_time()
        for batch in batches:
            first.encode(batch)
        times["layout tokenizer"].append(time.process_time() - begin)
        for name, tokenizer in stock.items():
            begin = time.process_time()
            for lines in texts:
                tokenizer(lines, padding="max_length", max_length=77, return_tensors="pt")
            times[name].append(time.process_time() - begin)
    return {name: best(values, prompts) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokenizer", help="folder of a CLIPTokenizer; default: a small temporary one")
    parser.add_argument(
        "--bins", type=int, default=256, help="cells per side of the grid, default: %(default)s"
    )
    parser.add_argument("--prompts", type=int, default=640, help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=32, help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--json", help="also write the results to this file")
    args = parser.parse_args()

    import platform

    import transformers

    from detdiffusion.models.editors.detdiffusion.small_tokenizer import write_small_tokenizer

    results = {}
    with tempfile.TemporaryDirectory() as folder:
        if args.tokenizer is None:
            words = "an image with easy hard background " + NAMES.replace("-", " ")
            write_small_tokenizer(folder, words.split())
        for template in ("compact", "paper"):
            sizes = (args.prompts, args.batch_size, args.repeats)
            results[template] = measure(args.tokenizer or folder, args.bins, template, *sizes)
    print(
        f"transformers {transformers.__version__}, {args.bins * args.bins} location tokens, {args.prompts} prompts"
    )
    print("| template | tokenizer | ms a prompt | times the layout tokenizer's |\n|---|---|---|---|")
    for template, times in results.items():
        for name, value in times.items():
            print(f"| {template} | {name} | {value:.4f} | {value / times['layout tokenizer']:.1f} |")
    if args.json:
        about = dict(
            date=time.strftime("%Y-%m-%d"),
            command=" ".join(["python", "benchmarks/tokenizer.py", *sys.argv[1:]]),
            hardware=f"{platform.processor() or platform.machine()}, one thread, CPU time, other work beside it",
            transformers=transformers.__version__,
            location_tokens=args.bins**2,
            ms_a_prompt=results,
        )
        Path(args.json).write_text(json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    main()
