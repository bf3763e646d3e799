"""Start of the studio: loads the models and serves the page until it is stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from detdiffusion.apis.generation import weights_digest
from detdiffusion.datasets.attributes_file import AttributesFile
from detdiffusion.generation.options import GeneratorOptions
from detdiffusion.perception.detector_factory import load_detector

from .detections import ImageInspector
from .layouts import LayoutFiles
from .model import StudioModel
from .options import StudioOptions
from .saving import SavedSet
from .server import StudioServer
from .studio import Studio

_OF_REQUESTS = ("num_inference_steps", "guidance_scale")


def serve(
    generator: GeneratorOptions,
    options: StudioOptions,
    ready: Callable[[StudioServer], None] | None = None,
) -> None:
    """Serve the page until Ctrl-C.

    Args:
        generator: the model.
        options: what the page shows, and where.
        ready: called with the listening server; by default its address is printed.

    Raises:
        UserError: a file is missing or not valid, the folder to save to holds another set, or the address is in use.
    """
    studio = open_studio(generator, options)
    try:
        with StudioServer(studio, options.host, options.port) as server:
            (ready or _introduce)(server)
            server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        print("stopped", flush=True)
    finally:
        studio.close()


def open_studio(generator: GeneratorOptions, options: StudioOptions) -> Studio:
    """Load the models and files of a studio.

    Raises:
        UserError: as :func:`serve`.
    """
    attributes = None if options.attributes is None else AttributesFile.read(options.attributes)
    inspector = None
    if options.detector is not None:
        inspector = ImageInspector(load_detector(*options.detector, generator.device))
    model = StudioModel(generator, inspector)
    nameable = inspector.detector.classes if inspector else None
    if attributes is not None:
        nameable = attributes.info.get("nameable") or nameable
    layouts = LayoutFiles(model.words, nameable)
    if options.ann:
        layouts.open(list(options.ann), attributes)
    facts = dict(
        config=Path(generator.config).name,
        checkpoint=None if generator.checkpoint is None else Path(generator.checkpoint).name,
        weights_sha256=weights_digest(model.inferencer.model),
        sampling={name: value for name, value in model.plan.facts().items() if name not in _OF_REQUESTS},
    )
    return Studio(model, facts, layouts, SavedSet(options.out, facts, layouts.categories))


def _introduce(server: StudioServer) -> None:
    studio = server.studio
    if not studio.model.words:
        print("note: this generator was trained without attributes, so it makes one image of a layout")
    elif not studio.model.trained_attributes:
        print("note: these weights were never trained with attributes, so easy and hard mean nothing yet")
    print(f"saving to {studio.saved.out}\nopen {server.url} (Ctrl-C stops)", flush=True)
