"""The log says what did not fit into the prompts."""

import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from tiny_editor import WORDS, layouts
from transformers import CLIPTokenizer

from detdiffusion.engine import PromptReportHook
from detdiffusion.models.editors.detdiffusion.layout_tokenizer import LayoutTokenizer
from detdiffusion.models.editors.detdiffusion.small_tokenizer import write_small_tokenizer


class Encodes(BaseModel):
    """A model that does nothing but write prompts."""

    def __init__(self, tokenizer, overflow):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.layout_tokenizer = LayoutTokenizer(tokenizer, bins=(4, 4), max_length=14, overflow=overflow)

    def forward(self, inputs, data_samples=None, mode="loss"):
        self.layout_tokenizer.encode(layouts(masks=False))
        return dict(loss=self.weight * 0)


def log_of(work_dir, overflow):
    write_small_tokenizer(work_dir, WORDS)
    runner = Runner(
        Encodes(CLIPTokenizer.from_pretrained(work_dir), overflow),
        work_dir=str(work_dir),
        experiment_name=f"prompts_{overflow}",
        train_dataloader=torch.utils.data.DataLoader([dict(inputs=0)] * 2),
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=3),
        optim_wrapper=OptimWrapper(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)),
        default_hooks=dict(logger=None, checkpoint=None, prompts=dict(type=PromptReportHook)),
        default_scope="detdiffusion",
    )
    runner.train()
    return next(work_dir.rglob("*.log")).read_text()


def test_objects_left_out_are_counted(work_dir):
    log = log_of(work_dir, "largest")
    assert log.count("layout_tokenizer.overflow='largest' leaves some of them out") == 1
    assert "Prompts so far: 6, 0 of them in several windows; 3 objects left out (most often ball 3)." in log


def test_windows_are_counted(work_dir):
    log = log_of(work_dir, "chunk")
    assert "no room" not in log
    assert "Prompts so far: 6, 3 of them in several windows; 0 objects left out." in log
