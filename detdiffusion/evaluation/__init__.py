"""`detdiffusion.evaluation`: AP, distances between image sets, consistency with layouts, and result files.

To use the metrics in a ``val_evaluator``, import :mod:`detdiffusion.evaluation.generation_metrics`.
"""
