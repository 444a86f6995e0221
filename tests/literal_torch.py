"""SFDA as it is defined, step by step, on tensors of any device: for comparing speeds.

As :mod:`literal`; torch has no generalised eigenproblem, so that the within-class
scatter is whitened first by its Cholesky factor.
"""

import torch


def score(X, y, strength=5.0):
    classes = int(y.max()) + 1
    S_W, _ = scatters(X, y, classes)
    shrinkage = max(float(torch.exp(-strength * power_iteration(S_W))), 1e-10)
    n = torch.arange(len(y), device=X.device)
    confidence = posterior(X, y, classes, shrinkage).softmax(1)[n, y]
    means = class_means(X, y, classes)
    others = torch.stack([torch.cat([means[:c], means[c + 1 :]]).mean(0) for c in range(classes)])
    mixed = confidence[:, None] * X + (1 - confidence)[:, None] * others[y]
    return float(posterior(mixed, y, classes, shrinkage)[n, y].mean())


def class_means(X, y, classes):
    return torch.stack([X[y == c].mean(0) for c in range(classes)])


def scatters(X, y, classes):
    S_W = sum((y == c).double().mean() * torch.cov(X[y == c].T, correction=0) for c in range(classes))
    return S_W, torch.cov(X.T, correction=0)


def power_iteration(S):
    x = S.sum(1)
    for _ in range(3):
        y = S @ x / torch.linalg.norm(S @ x)
        x = S @ y / torch.linalg.norm(S @ y)
    return x @ S @ y


def posterior(X, y, classes, shrinkage):
    S_W, S_T = scatters(X, y, classes)
    d = len(S_W)
    eye = torch.eye(d, dtype=X.dtype, device=X.device)
    within = (1 - shrinkage) * S_W + shrinkage * S_W.trace() / d * eye
    total = (1 - shrinkage) * S_T + shrinkage * S_T.trace() / d * eye
    L = torch.linalg.cholesky(within)
    half = torch.linalg.solve_triangular(L, total - within, upper=False)
    whitened = torch.linalg.solve_triangular(L, half.T, upper=False)
    _, Q = torch.linalg.eigh((whitened + whitened.T) / 2)
    V = torch.linalg.solve_triangular(L.T, Q, upper=True)
    Z, M = X @ V, class_means(X, y, classes) @ V
    priors = torch.bincount(y) / len(y)
    return (Z @ M.T - 0.5 * (M * M).sum(1) + priors.to(X.dtype).log()).softmax(1)
