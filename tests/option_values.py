"""Settings by name, put into the groups that the façade takes."""

from dataclasses import fields

from detdiffusion import apis


def take_groups(settings, names):
    """One instance of each named group of :mod:`detdiffusion.apis`; every setting must belong to one."""
    groups, left = [], dict(settings)
    for name in names:
        group = getattr(apis, name)
        own = {field.name for field in fields(group)}
        groups.append(group(**{key: left.pop(key) for key in list(left) if key in own}))
    assert not left, f"settings of no group: {sorted(left)}"
    return groups


def fidelity(synthetic, dataset=None, progress=False, **settings):
    """:func:`evaluate_fidelity` with the settings of all groups by name."""
    names = [
        "DetectorOptions",
        "AnnotatedImages",
        "ResultFolder",
        "FidOptions",
        "FoundRule",
        "BootstrapOptions",
    ]
    detector, real, *others = take_groups(settings, names)
    return apis.evaluate_fidelity(detector, real, synthetic, *others, dataset=dataset, progress=progress)


def extract(ann, out, **settings):
    """:func:`detdiffusion.apis.extract` with the settings of all groups by name."""
    names = ["AnnotatedImages", "PredictionOptions", "AttributeFiles", "AttributeRule"]
    return apis.extract(*take_groups(dict(settings, ann=ann, out=out), names))


def quality_gate(folder, out, **settings):
    """:func:`run_quality_gate` with the settings of all groups by name."""
    names = ["PredictionOptions", "GateRules", "GateThresholds", "GateReference"]
    return apis.run_quality_gate(folder, out, *take_groups(settings, names))


def browse(ann, out, **settings):
    """:func:`browse_dataset` with the settings of all groups by name."""
    dataset, *others = take_groups(
        dict(settings, ann=ann), ["AnnotatedImages", "ShownImages", "SheetOptions"]
    )
    return apis.browse_dataset(dataset, out, *others)
