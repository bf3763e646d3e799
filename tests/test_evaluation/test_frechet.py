"""Fréchet distance against closed forms and SciPy's sqrtm."""

import numpy as np
import pytest
import scipy.linalg

from detdiffusion.evaluation.frechet import (
    FeatureStatistics,
    frechet_distance,
    gaussian_frechet,
)
from detdiffusion.utils.errors import UserError


def test_diagonal_gaussians_closed_form():
    rng = np.random.default_rng(0)
    mean_a, mean_b, sd_a, sd_b = rng.uniform(0.1, 3, (4, 20))
    expected = ((mean_a - mean_b) ** 2).sum() + ((sd_a - sd_b) ** 2).sum()
    assert gaussian_frechet(mean_a, np.diag(sd_a**2), mean_b, np.diag(sd_b**2)) == pytest.approx(
        expected, rel=1e-12
    )


@pytest.mark.parametrize("seed", range(3))
def test_against_scipy_sqrtm(seed):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(300, 24)) @ rng.normal(size=(24, 24))
    b = rng.normal(size=(250, 24)) @ rng.normal(size=(24, 24)) + 0.5
    fa, fb = FeatureStatistics.fit(a, "x"), FeatureStatistics.fit(b, "x")
    np.testing.assert_allclose(fa.covariance, np.cov(a, rowvar=False), rtol=1e-10, atol=1e-12)
    root = scipy.linalg.sqrtm(np.cov(a, rowvar=False) @ np.cov(b, rowvar=False)).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(
        np.cov(a, rowvar=False) + np.cov(b, rowvar=False) - 2 * root
    )
    assert frechet_distance(fa, fb) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(fa, fb) == pytest.approx(frechet_distance(fb, fa), rel=1e-10)


def test_singular_covariances():
    """Fewer vectors than dimensions: a set to itself is 0, to its shifted self the shift squared."""
    a = np.random.default_rng(0).normal(size=(10, 50))
    fa = FeatureStatistics.fit(a, "x")
    assert frechet_distance(fa, fa) == pytest.approx(0, abs=1e-4)
    assert frechet_distance(fa, FeatureStatistics.fit(a + 2, "x")) == pytest.approx(200, abs=1e-4)


def test_errors():
    a = FeatureStatistics.fit(np.eye(4), "x")
    with pytest.raises(UserError, match="different features"):
        frechet_distance(a, FeatureStatistics.fit(np.eye(4), "y"))
    with pytest.raises(UserError, match="at least 2"):
        FeatureStatistics.fit(np.eye(4)[:1], "x")
    with pytest.raises(UserError, match="nan"):
        FeatureStatistics.fit(np.full((3, 2), np.nan), "x")
