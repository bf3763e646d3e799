"""Table 4, first row: neither P.A. Attr nor P.A. loss (paper: FID 20.16, mAP 29.1)."""

_base_ = "../geodiffusion_coco.py"
