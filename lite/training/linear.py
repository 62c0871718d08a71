"""Logistic regression: how much each part of the judge counts."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

ITERATIONS = 500


def fitted(
    inputs: np.ndarray, target: np.ndarray, weight: np.ndarray, *, ridge: float
) -> tuple[np.ndarray, float]:
    """Weighted logistic regression with soft labels: (weights, none below zero; bias)."""
    width, share = inputs.shape[1], weight / weight.sum()

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        margin = inputs @ point[:width] + point[width]
        error = share * (1 / (1 + np.exp(-margin)) - target)
        slope = np.append(inputs.T @ error + ridge * point[:width], error.sum())
        surprise = share @ (np.logaddexp(0, margin) - target * margin)
        return surprise + ridge / 2 * point[:width] @ point[:width], slope

    bounds = [(0, None)] * width + [(None, None)]
    start, options = np.zeros(width + 1), {"maxiter": ITERATIONS}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    return found[:width].astype(np.float32), float(found[width])
