"""The rival metrics as they are defined, step by step: slow, for comparison.

Written from the formulas, in the order in which the original implementations compute them, and with their habits where
those decide the value or the cost (a D x D pseudo-inverse, all ranks of all pairs, a loop over classes or pairs).
"""

import numpy as np
import scipy.special
import scipy.stats
from sklearn.covariance import ledoit_wolf
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import pairwise_distances
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from literal import class_means, shrink, softmax, within_scatter


def expected_predictions(theta, y):
    joint = np.array([theta[y == c].sum(0) for c in range(y.max() + 1)])
    seen = joint.sum(0) > 0
    return (theta[:, seen] @ (joint[:, seen] / joint.sum(0)[seen]).T)[np.arange(len(y)), y]


def leep(theta, y):
    return np.log(expected_predictions(theta, y)).mean()


def nce(theta, y):
    N, z = len(y), np.eye(theta.shape[1])[theta.argmax(1)]
    joint = np.eye(y.max() + 1)[y].T @ z / N
    conditional = joint / np.maximum(z.sum(0) / N, 1e-300)
    return (joint * np.log(np.where(joint > 0, conditional, 1))).sum()


def nleep(X, y, seed=0, log=True):
    x = PCA(0.8, svd_solver="full").fit_transform(X)
    mixture = GaussianMixture(5 * (y.max() + 1), random_state=seed).fit(x)
    p = expected_predictions(mixture.predict_proba(x), y)
    return np.log(p).mean() if log else p.mean()


def logme(X, y, corrected=True, direct=True):
    """`direct`: the SVD of X itself, where the original takes that of X'X for N > D."""
    (N, D), T = X.shape, np.eye(y.max() + 1)[y]
    if N > D and not direct:
        _, S2, Vt = np.linalg.svd(X.T @ X)
        S = np.sqrt(S2)
        k = (S > 1e-10).sum()
        U, S = (X @ Vt.T)[:, :k] / S[:k], S[:k]
    else:
        U, S, Vt = np.linalg.svd(X, full_matrices=False)
        if direct:
            k = (S > 1e-7 * S[0]).sum()
            U, S = U[:, :k], S[:k]
    s = S**2
    return np.mean([evidence(N, D, s, U, t, corrected)[0] for t in T.T])


def evidence(N, D, s, U, t, corrected):
    z2 = (U.T @ t) ** 2
    r0 = (t**2).sum() - z2.sum()
    alpha = beta = 1.0
    for _ in range(11):
        ratio = alpha / beta
        gamma = (s / (s + ratio)).sum()
        m2 = (s * z2 / (s + ratio) ** 2).sum()
        r2 = (z2 / (1 + s / ratio) ** 2).sum() + r0
        alpha = gamma / (m2 + 1e-5)
        beta = (N - gamma) / (r2 + 1e-5)
        if abs(alpha / beta - ratio) / ratio <= 1e-3:
            break
    log_det = np.log(alpha + beta * s).sum() + (D - len(s)) * np.log(alpha) * corrected
    value = D * np.log(alpha) + N * np.log(beta) - log_det - beta * r2 - alpha * m2
    return (value - N * np.log(2 * np.pi)) / (2 * N), alpha, beta


def h_score(X, y, cut=1e-15):
    """`cut` of the pseudo-inverse, 1e-15 in public code: below the rounding errors."""
    covariance = np.atleast_2d(np.cov(X, rowvar=False))
    G = class_means(X, y)[y]
    return np.trace(np.linalg.pinv(covariance, rcond=cut) @ np.cov(G, rowvar=False).reshape(covariance.shape))


def regularised_h_score(X, y):
    X = X - X.mean(0)
    covariance, shrinkage = ledoit_wolf(X)
    between = np.cov(class_means(X, y)[y], rowvar=False).reshape(covariance.shape)
    return np.trace(np.linalg.pinv(covariance, rcond=1e-15) @ ((1 - shrinkage) * between))


def parc(X, y, components=None, rounded=True):
    """`rounded`: dissimilarities that differ by rounding errors are equal."""
    if components is not None:
        k = min(components, *X.shape)
        X = PCA(k, svd_solver="randomized", random_state=1919, iterated_power=1).fit_transform(X)
        X = X[:, : np.linalg.matrix_rank(X)]  # the rest is rounding errors, scaled to variance 1 in public code
    X = StandardScaler().fit_transform(X)
    upper = np.triu_indices(len(y), 1)
    a = (1 - np.corrcoef(X))[upper]
    b = (1 - np.corrcoef(np.eye(y.max() + 1)[y]))[upper]
    if rounded:
        a, b = a.round(12), b.round(12)
    return 100 * scipy.stats.spearmanr(a, b).statistic


def gbc(X, y, spherical=True):
    mu = class_means(X, y)
    v = np.array([np.maximum(X[y == c].var(0), 1e-4) for c in range(len(mu))])
    total = 0.0
    for i in range(len(mu)):
        for j in range(len(mu)):
            if i != j:
                vi, vj = (v[i].mean(), v[j].mean()) if spherical else (v[i], v[j])
                m = (vi + vj) / 2
                b = ((mu[i] - mu[j]) ** 2 / m).sum() / 8
                b += (np.log(m).sum() - np.log(vi).sum() / 2 - np.log(vj).sum() / 2) / 2
                total += np.exp(-b)
    return -total


def coding_rate(Z, epsilon):
    n, d = Z.shape
    return np.linalg.slogdet(np.eye(d) + Z.T @ Z / (n * epsilon))[1] / 2


def transrate(X, y, epsilon=1e-4, normalised=False):
    X = X - X.mean(0)
    if normalised:
        X = X / np.linalg.norm(X)
    rates = [coding_rate(X[y == c], epsilon) for c in range(y.max() + 1)]
    weights = np.bincount(y) / len(y) if normalised else np.full(len(rates), 1 / len(rates))
    return coding_rate(X, epsilon) - weights @ rates


def etran_energy(X):
    energies = np.sort(scipy.special.logsumexp(X, axis=1))
    return energies[: max(1, 5 * len(X) // 1000)].mean()


def etran_discriminant(X, y, shrinkage):
    """The authors' steps: eigh of a matrix that is not symmetric."""
    S_W, S_T = within_scatter(X, y), np.cov(X.T, bias=True).reshape(X.shape[1], -1)
    S_W, S_T = shrink(S_W, shrinkage), shrink(S_T, shrinkage)
    _, V = np.linalg.eigh(np.linalg.inv(S_W) @ (S_T - S_W))
    M = class_means(X, y)
    coefficients = M @ V @ V.T
    delta = X @ coefficients.T - np.diag(M @ coefficients.T) / 2 + np.log(np.bincount(y) / len(y))
    return softmax(delta)[np.arange(len(y)), y].mean()


def nearest_neighbours(X, y, k=1):
    d = pairwise_distances(X)
    np.fill_diagonal(d, np.inf)
    nearest = y[np.argsort(d, axis=1)[:, :k]].tolist()
    winners = [max(votes, key=lambda v: (votes.count(v), -votes.index(v))) for votes in nearest]
    return (winners == y).mean()


def left_out_ridge(X, y, ridges, standardise=False):
    X = StandardScaler().fit_transform(X) if standardise else X - X.mean(0)

    def fit(ridge, others, n):
        return Ridge(ridge * (X**2).sum(), solver="svd").fit(X[others], np.eye(y.max() + 1)[y[others]]).predict(X[n : n + 1])[0]

    return best_of_left_out(fit, y, ridges)


def left_out_kernel_ridge(X, y, ridges):
    X, N, T = StandardScaler().fit_transform(X), len(y), np.eye(y.max() + 1)[y]
    K = rbf_kernel(X, gamma=1 / X.any(0).sum())
    centre = np.eye(N) - 1 / N
    trace = np.trace(centre @ K @ centre)

    def fit(ridge, others, n):
        # Coefficients that sum to zero, and an intercept that is not penalised.
        n_others = len(others)
        A = np.ones((n_others + 1, n_others + 1))
        A[:-1, :-1] = K[np.ix_(others, others)] + ridge * trace * np.eye(n_others)
        A[-1, -1] = 0
        return np.r_[K[n, others], 1] @ np.linalg.solve(A, np.r_[T[others], np.zeros((1, T.shape[1]))])

    return best_of_left_out(fit, y, ridges)


def best_of_left_out(fit, y, ridges):
    """Accuracy of the ridge with the smallest error: every sample is judged by a fit to all others."""
    N, found = len(y), []
    for ridge in ridges:
        F = np.array([fit(ridge, np.delete(np.arange(N), n), n) for n in range(N)])
        found.append((((np.eye(y.max() + 1)[y] - F) ** 2).mean(), (F.argmax(1) == y).mean()))
    return min(found)[1]


def effective_rank(X):
    S = np.linalg.svd(X, compute_uv=False)
    p = S / S.sum() + 1e-7
    return np.exp(-(p * np.log(p)).sum())


def alpha_req(X):
    s = PCA(svd_solver="full").fit(X).explained_variance_ratio_
    s = s[s > 1e-13]
    k = np.arange(1, len(s) + 1)
    fitted = (k >= min(4, len(s) - 1)) & (k <= 100)
    slope, _ = np.polyfit(np.log(k[fitted]), np.log(s[fitted]), 1, w=1 / np.sqrt(k[fitted]))
    return -abs(-slope - 1)


def directional_cdnv(X, y):
    mu, found = class_means(X, y), []
    for i in range(len(mu)):
        for j in range(len(mu)):
            if i != j:
                d = mu[j] - mu[i]
                found.append(min((X[y == i] @ d / np.linalg.norm(d)).var() / (d @ d), 1e6))
    return -np.mean(found)


def linear_probe(X, y, folds=5, seed=0):
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return (cross_val_predict(model, X, y, cv=splits) == y).mean()


def ped(X, y, mean, std, nsigma=0.6, dt=0.1, exit_ratio=0.5):
    """One class against another, step by step, on all samples."""
    X, std = X.copy(), np.maximum(std, 1e-3)
    C, first = y.max() + 1, None
    for _ in range(6):
        Z = (X - mean) / std
        mu = class_means(Z, y)
        R = [np.sqrt(Z[y == c].var(0).sum()) for c in range(C)]
        shift = np.zeros_like(mu)
        for i in range(C):
            for j in range(C):
                d = np.linalg.norm(mu[i] - mu[j])
                if i != j and d > 0:
                    force = max(nsigma * R[i] + nsigma * R[j] - d, 0)
                    shift[i] += (mu[i] - mu[j]) / d * min(dt**2 / 2 * force, force)
        size = np.abs(shift).sum()
        first = size if first is None else first
        if size == 0 or size / first <= exit_ratio:
            break
        X = (Z + shift[y]) * std + mean
    return X


def ncti_terms(X, y, solver="full"):
    """`solver` of the principal components; "auto" is a random one for large X, as published."""
    pca = PCA(min(64, *X.shape), svd_solver=solver)
    X = pca.fit_transform(X)
    X = X[:, : (pca.singular_values_ > 1e-7 * pca.singular_values_[0]).sum()]
    shrinkage = max(np.exp(-pca.explained_variance_[:32].sum()), 1e-10)
    options = {"solver": "eigen", "shrinkage": shrinkage} if shrinkage > 1e-10 else {"solver": "svd"}
    model = LinearDiscriminantAnalysis(**options)
    Z = model.fit_transform(X, y)
    p = model.predict_proba(X)
    total = sum(np.linalg.norm(p[y == c], "nuc") for c in range(y.max() + 1))
    return np.linalg.norm(Z - Z.mean(0), "nuc"), p[np.arange(len(y)), y].mean(), np.log(total)
