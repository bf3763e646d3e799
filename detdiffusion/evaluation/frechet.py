"""Fréchet distance between two sets of feature vectors, in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detdiffusion.utils.errors import UserError


@dataclass(frozen=True)
class FeatureStatistics:
    """Gaussian fit to feature vectors.

    Attributes:
        mean: (D,) float64.
        covariance: (D, D) float64, unbiased (N - 1).
        count: N.
        features: description of the features, printed with every distance.
    """

    mean: np.ndarray
    covariance: np.ndarray
    count: int
    features: str

    @classmethod
    def fit(cls, vectors: np.ndarray, features: str) -> FeatureStatistics:
        """Fit a Gaussian to (N, D) vectors of any float type.

        Raises:
            UserError: there are fewer than two vectors, the shape is not (N, D), or a value is not finite.
        """
        vectors = np.asarray(vectors, dtype=np.float64)
        if vectors.ndim != 2 or len(vectors) < 2:
            raise UserError(
                f"a Fréchet distance needs at least 2 feature vectors of shape (N, D), got {vectors.shape}"
            )
        if not np.isfinite(vectors).all():
            raise UserError(
                f"{(~np.isfinite(vectors).all(axis=1)).sum()} feature vectors contain nan or infinity"
            )
        centred = vectors - vectors.mean(axis=0)
        return cls(vectors.mean(axis=0), centred.T @ centred / (len(vectors) - 1), len(vectors), features)


def gaussian_frechet(
    mean_a: np.ndarray, covariance_a: np.ndarray, mean_b: np.ndarray, covariance_b: np.ndarray
) -> float:
    """Return the squared 2-Wasserstein distance of two Gaussians: |ma - mb|² + tr(A + B - 2 (A^½ B A^½)^½).

    The trace of the root is computed as the sum of the square roots of the eigenvalues of the symmetric A^½ B A^½,
    which is real and finite for singular covariances, unlike ``sqrtm(A B)``.

    Args:
        mean_a, mean_b: (D,) means.
        covariance_a, covariance_b: (D, D) symmetric positive semi-definite.

    Source: Dowson and Landau 1982; Heusel et al. 2017 (FID).
    """
    mean_a, mean_b = np.asarray(mean_a, np.float64), np.asarray(mean_b, np.float64)
    covariance_a, covariance_b = np.asarray(covariance_a, np.float64), np.asarray(covariance_b, np.float64)
    values, vectors = np.linalg.eigh(covariance_a)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    product = root @ covariance_b @ root
    eigenvalues = np.linalg.eigvalsh((product + product.T) / 2)
    cross = np.sqrt(np.clip(eigenvalues, 0, None)).sum()
    difference = mean_a - mean_b
    distance = difference @ difference + np.trace(covariance_a) + np.trace(covariance_b) - 2 * cross
    return float(max(distance, 0.0))


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """Return the Fréchet distance of two fitted sets.

    Raises:
        UserError: the sets have different features.
    """
    if a.features != b.features or a.mean.shape != b.mean.shape:
        raise UserError(
            f"Fréchet distance between different features: {a.features!r} {a.mean.shape} and "
            f"{b.features!r} {b.mean.shape}"
        )
    return gaussian_frechet(a.mean, a.covariance, b.mean, b.covariance)
