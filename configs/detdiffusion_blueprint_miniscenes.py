"""The demo's generator: boxes and attributes as tokens, as in the paper, and also drawn at the network's input.

So the attribute is learned in half of the steps of detdiffusion_miniscenes.py.
"""

_base_ = "detdiffusion_miniscenes.py"
model = dict(layout_condition="both")
max_iters = 400
