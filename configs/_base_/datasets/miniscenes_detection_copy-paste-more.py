# The training images of MiniScenes and further real images (split `more`), half of every batch each, with objects of
# other images of the same split pasted in.
_base_ = "./miniscenes_detection_copy-paste-halves.py"

real = _base_.train_dataloader.dataset.datasets[0]
more = dict(real.dataset, ann_file="more/instances.json", data_prefix=dict(img="more/images/"))
train_dataloader = dict(dataset=dict(datasets=[real, dict(real, dataset=more)]))
