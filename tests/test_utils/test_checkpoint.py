"""A checkpoint brings data, never code."""

import io
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer

from detdiffusion.utils.checkpoint import load_checkpoint, load_strictly, stored_classes, trained_from
from detdiffusion.utils.errors import UserError


def test_what_mmengine_stores_is_read_back(tmp_path):
    buffer = HistoryBuffer([1.0, 2.0, 4.0], [1, 1, 1])
    stored = dict(
        state_dict=OrderedDict(weight=torch.arange(3.0), half=torch.ones(2, dtype=torch.bfloat16)),
        message_hub=dict(
            log_scalars=OrderedDict(loss=buffer), runtime_info=dict(iter=np.int64(3), lr=np.float32(0.5))
        ),
        meta=dict(
            classes=("a", "b"), palette=np.array([[1, 2]], dtype=np.uint8), name=np.array(["x"]), epoch=1
        ),
        optimizer=dict(
            state={0: dict(step=torch.tensor(3.0))}, param_groups=[dict(lr=0.1, betas=(0.9, 0.999))]
        ),
    )
    torch.save(stored, tmp_path / "a.pth")
    loaded = load_checkpoint(tmp_path / "a.pth")
    assert torch.equal(loaded["state_dict"]["weight"], torch.arange(3.0))
    assert loaded["message_hub"]["log_scalars"]["loss"].mean() == pytest.approx(7 / 3)
    assert loaded["message_hub"]["runtime_info"] == dict(iter=3, lr=0.5)
    assert loaded["meta"]["palette"].tolist() == [[1, 2]] and loaded["meta"]["classes"] == ("a", "b")


class Runs:
    """Unpickling it in the usual way calls ``function(*args)``."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def test_code_in_a_checkpoint_does_not_run(tmp_path):
    marker, path = tmp_path / "ran", tmp_path / "bad.pth"
    torch.save(dict(state_dict={}, meta=Runs(open, str(marker), "w")), path)
    with pytest.raises(UserError, match="bad.pth contains objects that may run code"):
        load_checkpoint(path)
    # mmengine's allow-list has getattr, from which everything can be reached.
    torch.save(dict(meta=Runs(getattr, HistoryBuffer.mean, "__globals__")), path)
    with pytest.raises(UserError, match="may run code"):
        load_checkpoint(path)
    torch.save(dict(meta=Runs(getattr, HistoryBuffer, "__init__")), path)
    with pytest.raises(UserError, match="may run code"):
        load_checkpoint(path)
    assert not marker.exists()


def _truncated_zip():
    whole = io.BytesIO()
    torch.save(dict(a=torch.zeros(100)), whole)
    return whole.getvalue()[:300]


def _zip_without_data():
    empty = io.BytesIO()
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("x", "y")
    return empty.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"", b"junk", _truncated_zip(), _zip_without_data(), pickle.dumps(3), b"\x80\x02}", b"PK\x03\x04"],
)
def test_a_damaged_file_is_one_clear_error(content, tmp_path):
    path = tmp_path / "damaged.pth"
    path.write_bytes(content)
    with pytest.raises(
        UserError, match=r"damaged.pth (is damaged or is not a checkpoint|contains a)"
    ) as error:
        load_checkpoint(path)
    assert "weights_only" not in str(error.value) and "\n" not in str(error.value)


def test_missing_file_and_wrong_content(tmp_path):
    torch.save([1], tmp_path / "list.pth")
    with pytest.raises(UserError, match="contains a list, not a dict"):
        load_checkpoint(tmp_path / "list.pth")
    with pytest.raises(UserError, match="epoch_9.pth does not exist; .* holds list.pth"):
        load_checkpoint(tmp_path / "epoch_9.pth")


def test_strict_loading_names_what_does_not_fit():
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    good = {name: torch.full_like(value, 7) for name, value in model.state_dict().items()}
    del good["1.num_batches_tracked"]  # older files lack it
    load_strictly(model, dict(state_dict={f"module.{name}": value for name, value in good.items()}), "a.pth")
    assert (model[0].weight == 7).all() and (model[1].running_var == 7).all()
    bad = {**good, "0.weight": torch.zeros(5, 3), "more": torch.zeros(1)}
    del bad["1.bias"]
    with pytest.raises(UserError) as error:
        load_strictly(model, bad, "checkpoint a.pth")
    assert str(error.value) == (
        "checkpoint a.pth does not fit the model: 1 tensors missing (1.bias); 1 unknown (more); "
        "1 of another shape (0.weight (5, 3) for (2, 3)). Use the config it was trained with."
    )
    text = "unet=dict(from_pretrained='zoo://a'), vae=dict(from_pretrained='b'), scheduler=dict(from_pretrained='b')"
    for config, said in (
        (text, r"from b, zoo://a\. If that was an older version of the package, .* train it again"),
        (text.replace("zoo://a", "a"), "from a, b"),
    ):
        with pytest.raises(
            UserError, match=rf"It was trained {said}\. Use the config it was trained with\.$"
        ):
            load_strictly(model, dict(state_dict=bad, meta=dict(cfg=config)), "checkpoint a.pth")
    long = f"/home/user/{'a' * 80}/{'b' * 40}"
    text = Config(dict(model=dict(unet=dict(type="UNet2DConditionModel", from_pretrained=long)))).pretty_text
    assert trained_from(dict(meta=dict(cfg=text))) == [long]  # which mmengine breaks behind "="
    load_strictly(model, bad, "a.pth", ignore=("0.", "1.", "more"))


def test_classes_of_mmengine_and_mmdet():
    names = ("ball", "pine tree")
    for meta in (
        dict(dataset_meta=dict(classes=names)),
        dict(dataset_meta=dict(CLASSES=list(names))),
        dict(CLASSES=names),
        dict(dataset_meta=None, classes=names),
        dict(dataset_meta=dict(classes=names), CLASSES=("other",)),
    ):
        assert stored_classes(dict(meta=meta), "x") == names
    assert stored_classes(dict(meta=dict(classes="cat")), "x") == ("cat",)
    for empty in ({}, dict(meta=None), dict(meta={}), dict(meta=dict(dataset_meta=dict(classes=())))):
        assert stored_classes(empty, "x") == ()


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ("x", "a.pth: its 'meta' is a str, not a dict"),
        ([1], "its 'meta' is a list"),
        (dict(dataset_meta=3), "its 'dataset_meta' is a int"),
        (dict(dataset_meta=dict(classes=3)), "classes in its 'meta' must be strings, got 3"),
        (dict(classes=["a", None]), r"must be strings, got \['a', None\]"),
    ],
)
def test_classes_of_another_form(meta, message):
    with pytest.raises(UserError, match=message):
        stored_classes(dict(meta=meta), "checkpoint a.pth")


def spoil(values, index, bad):
    values = values.clone()
    values.view(-1)[index] = bad
    return values


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("part", ["state_dict", "ema_state_dict", None])
def test_weights_that_are_not_finite_are_refused(bad, dtype, part, tmp_path):
    state = OrderedDict(a=torch.ones(3), b=spoil(torch.randn(4, 5).to(dtype), 7, bad), step=torch.tensor(3))
    stored = state if part is None else {"state_dict": OrderedDict(a=torch.ones(3)), part: state}
    torch.save(stored, tmp_path / "a.pth")
    word = "NaN" if bad != bad else "infinite"
    with pytest.raises(
        UserError, match=rf"a.pth: 1 of 3 tensors are not finite: b \(1 {word} of 20 values\)"
    ):
        load_checkpoint(tmp_path / "a.pth")


def test_large_weights_and_an_optimizer_are_no_fault(tmp_path):
    kinds = dict(a=torch.float32, b=torch.float64, c=torch.float16, f=torch.bfloat16)
    state = OrderedDict(
        **{name: torch.full((9,), torch.finfo(dtype).max, dtype=dtype) for name, dtype in kinds.items()},
        d=torch.empty(0),
        e=torch.ones(3).to(torch.float8_e4m3fn),
    )
    torch.save(dict(state_dict=state, optimizer=dict(state=torch.tensor(float("inf")))), tmp_path / "a.pth")
    assert load_checkpoint(tmp_path / "a.pth")["state_dict"].keys() == state.keys()
