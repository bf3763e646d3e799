"""`Studio`: everything that the page does, apart from HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from detdiffusion.utils.errors import UserError

from .jobs import DONE, Job, JobQueue
from .layouts import LayoutFiles
from .model import StudioImage, StudioModel
from .request import MAX_BOXES, column_names
from .saving import SavedSet, png_with_recipe, recipe_of

MAX_UPLOAD = 64 << 20
"""Largest size of an uploaded file in bytes."""


class Studio:
    """Models, layouts, the queue and the saved set of one server.

    Args:
        model: generates the images.
        facts: what the images are made with, as json values, for recipes and the set.
        layouts: the files of the command line and uploads.
        saved: the set to save to.
    """

    def __init__(self, model: StudioModel, facts: Mapping, layouts: LayoutFiles, saved: SavedSet) -> None:
        self.model, self.facts, self.layouts, self.saved = model, dict(facts), layouts, saved
        self.queue = JobQueue(model.generate)

    def describe(self) -> dict:
        """Return what the page needs to know, as json values."""
        model = self.model
        height, width = model.image_size
        detector = model.inspector.detector if model.inspector else None
        classes = [*(category["name"] for category in self.layouts.categories), *model.classes]
        if not classes and detector is not None:
            classes = detector.classes
        return dict(
            **self.facts,
            width=width,
            height=height,
            attributes=list(model.words),
            trained_attributes=model.trained_attributes,
            columns=list(column_names(model.words)),
            classes=list(dict.fromkeys(classes)),
            detector=None if detector is None else detector.name,
            files=self.layouts.named(),
            out=str(self.saved.out),
            defaults=dict(steps=model.plan.steps, guidance_scale=model.plan.guidance_scale, seed=0),
            limits=dict(boxes=MAX_BOXES, upload=MAX_UPLOAD),
        )

    def submit(self, data: object) -> dict:
        """Check a request and append it to the queue.

        Raises:
            UserError: the request is not valid, or the queue is full.
        """
        return dict(key=self.queue.submit(self.model.read_request(data)).key)

    def job(self, key: str) -> dict:
        """Return a job's state, as json values.

        Raises:
            UnknownJob: there is no such job.
        """
        job = self.queue.get(key)
        state = dict(
            state=job.state,
            position=self.queue.position(job),
            step=job.step,
            steps=job.steps,
            error=job.error,
        )
        if job.state == DONE:
            state["images"] = [_facts_of(image) for image in job.result]
        return state

    def cancel(self, key: str) -> dict:
        """Cancel a job.

        Raises:
            UnknownJob: there is no such job.
        """
        return dict(state=self.queue.cancel(key).state)

    def png(self, key: str, index: int) -> bytes:
        """Return an image with its recipe.

        Raises:
            UserError: there is no such image.
        """
        return png_with_recipe(self._image(key, index), self.facts)

    def recipe(self, key: str, index: int) -> dict:
        """Return what an image was made from.

        Raises:
            UserError: there is no such image.
        """
        return recipe_of(self._image(key, index), self.facts)

    def save(self, key: str, data: object) -> dict:
        """Save images of a job to the COCO set.

        Args:
            key: the job.
            data: ``{"images": [indices]}``.

        Returns:
            See :meth:`.saving.SavedSet.add`, and the set's folder as ``out``.

        Raises:
            UserError: there is no such image, or it cannot be written.
        """
        indices = data.get("images") if isinstance(data, Mapping) else None
        if not isinstance(indices, Sequence) or not indices or not all(type(i) is int for i in indices):
            raise UserError("no images to save are named")
        images = [self._image(key, index) for index in dict.fromkeys(indices)]
        return dict(self.saved.add(images), out=str(self.saved.out))

    def close(self) -> None:
        """Stop the worker and release the set's folder."""
        self.queue.close()
        self.saved.close()

    def _image(self, key: str, index: int) -> StudioImage:
        job: Job = self.queue.get(key)
        if job.state != DONE or not 0 <= index < len(job.result):
            raise UserError("there is no such image")
        return job.result[index]


def _facts_of(image: StudioImage) -> dict:
    """Return what the page shows of an image; boxes xyxy in [0, 1]."""
    width, height = image.record["width"], image.record["height"]
    objects = []
    for number, annotation in enumerate(image.annotations):
        x, y, w, h = annotation["bbox"]
        objects.append(
            dict(
                box=[x / width, y / height, (x + w) / width, (y + h) / height],
                name=image.names[annotation["category_id"]],
                attribute=annotation["attribute"],
                found=image.detections["found"][number] if image.detections else None,
            )
        )
    return dict(
        column=image.column,
        width=width,
        height=height,
        file_name=image.record["file_name"],
        prompt=image.extra["prompt"],
        objects=objects,
        not_prompted=[image.names[i - 1] for i in image.extra["not_prompted"]],
        detections=image.detections["boxes"] if image.detections else None,
    )
