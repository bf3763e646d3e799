"""`detdiffusion.evaluation`: AP, distances, consistency, result files.

Import :mod:`detdiffusion.evaluation.generation_metrics` for the metrics of a ``val_evaluator``.
"""
