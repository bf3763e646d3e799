"""`detdiffusion.apis`: the functions behind the command-line tools, and the options that they take.

Names are imported lazily, so ``import detdiffusion.apis`` does not import torch.
"""

from detdiffusion.utils.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "detdiffusion.apis.inferencer": ["DetDiffusionInferencer"],
        "detdiffusion.apis.generation": ["generate_dataset"],
        "detdiffusion.generation.options": [
            "ContentOptions",
            "GeneratorOptions",
            "LayoutOptions",
            "SamplingOptions",
            "SetFiles",
        ],
        "detdiffusion.apis.quality_gate": ["run_quality_gate"],
        "detdiffusion.generation.gate_options": ["GateReference", "GateRules", "GateThresholds"],
        "detdiffusion.apis.fidelity": ["evaluate_fidelity"],
        "detdiffusion.apis.sampler_sweep": ["sweep_sampling"],
        "detdiffusion.apis.near_copies": ["report_near_copies"],
        "detdiffusion.apis.yolo_score": ["score_methods"],
        "detdiffusion.evaluation.options": [
            "BootstrapOptions",
            "CopyOptions",
            "FidOptions",
            "ResultFolder",
            "SweepOptions",
            "YoloScoreOptions",
        ],
        "detdiffusion.apis.trainability": ["compare_trainability"],
        "detdiffusion.apis.paper_tables": ["write_paper_tables"],
        "detdiffusion.perception.extraction": ["extract"],
        "detdiffusion.perception.attribute_options": ["AttributeFiles", "AttributeRule"],
        "detdiffusion.visualization.browse": ["browse_dataset"],
        "detdiffusion.visualization.browse_options": ["SheetOptions", "ShownImages"],
        "detdiffusion.apis.dataset_check": ["check_dataset"],
        "detdiffusion.datasets.set_check": ["DatasetReport"],
        "detdiffusion.apis.conversion": ["OutputOptions", "write_and_report"],
        "detdiffusion.utils.shared_options": [
            "AnnotatedImages",
            "DetectorOptions",
            "FoundRule",
            "PredictionOptions",
        ],
    },
)
