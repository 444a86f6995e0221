"""SFDA as it is defined, step by step: slow, with its eigenproblem, for comparison."""

import numpy as np
import scipy.linalg


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def class_means(X, y):
    return np.array([X[y == c].mean(0) for c in range(y.max() + 1)])


def within_scatter(X, y):
    S = np.zeros((X.shape[1], X.shape[1]))
    for c in range(y.max() + 1):
        S += (y == c).mean() * np.cov(X[y == c].T, bias=True).reshape(S.shape)
    return S


def power_iteration(S):
    x = S.sum(1)
    for _ in range(3):
        y = S @ x / np.linalg.norm(S @ x)
        x = S @ y / np.linalg.norm(S @ y)
    return x @ S @ y


def adaptive(S, strength=5.0):
    return max(np.exp(-strength * power_iteration(S)), 1e-10)


def shrink(S, shrinkage):
    d = len(S)
    return (1 - shrinkage) * S + shrinkage * np.trace(S) / d * np.eye(d)


def posterior(X, y, shrinkage):
    """All generalised eigenvectors, then Bayes' rule with unit covariance among them."""
    S_W = within_scatter(X, y)
    S_T = np.cov(X.T, bias=True).reshape(S_W.shape)
    within = shrink(S_W, shrinkage)
    between = shrink(S_T, shrinkage) - within
    _, V = scipy.linalg.eigh(between, within)
    Z, M = X @ V, class_means(X, y) @ V
    return softmax(Z @ M.T - 0.5 * (M * M).sum(1) + np.log(np.bincount(y) / len(y)))


def other_means(M):
    return np.array([np.delete(M, c, axis=0).mean(0) for c in range(len(M))])


def confmix(X, y, confidence):
    O = other_means(class_means(X, y))
    return np.array([p * x + (1 - p) * O[c] for x, c, p in zip(X, y, confidence)])


def score(X, y, shrinkage=None, strength=5.0):
    if shrinkage is None:
        shrinkage = adaptive(within_scatter(X, y), strength)
    n = np.arange(len(y))
    confidence = softmax(posterior(X, y, shrinkage))[n, y]
    return posterior(confmix(X, y, confidence), y, shrinkage)[n, y].mean()


def left_out_posterior(X, y, shrinkage, Z):
    """Row n: the posterior at Z[n] of the discriminant refitted without sample n.

    The ridge is that of all samples; the scatter of the others is divided by
    N - 1; the priors are theirs.
    """
    N, D = X.shape
    ridge = shrinkage * np.trace(within_scatter(X, y)) / D
    rows = []
    for n in range(N):
        Xn, yn = np.delete(X, n, axis=0), np.delete(y, n)
        A = (1 - shrinkage) * within_scatter(Xn, yn) + ridge * np.eye(D)
        M = class_means(Xn, yn)
        B = np.linalg.solve(A, M.T)
        rows.append(Z[n] @ B - 0.5 * (M.T * B).sum(0) + np.log(np.bincount(yn) / (N - 1)))
    return softmax(np.array(rows))


def left_out_score(X, y, shrinkage):
    p = left_out_posterior(X, y, shrinkage, X)
    soft = softmax(p)
    n = np.arange(len(y))
    mixed = confmix(X, y, soft[n, y])
    O = other_means(class_means(X, y))
    Z = np.array([sum(p[i, c] * (soft[i, c] * X[i] + (1 - soft[i, c]) * O[c]) for c in range(len(O))) for i in n])
    return left_out_posterior(mixed, y, shrinkage, Z)[n, y].mean()
