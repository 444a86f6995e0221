"""The model of a record as its docstring states it, by dense matrices: slow, and for small tables only."""

import numpy as np
import pandas as pd
from scipy import stats
from scipy.linalg import null_space
from scipy.special import logit, softmax

RATIOS = np.geomspace(0.05, 50, 16)
NOISE, LEVEL = 0.1, 1.0


def normal_scores(values):
    known = values.dropna()
    scores = pd.Series(stats.norm.ppf((known.rank() - 0.5) / len(known)), known.index)
    spread = scores.std(ddof=0)
    scores = (scores - scores.mean()) / (spread if spread > 1e-12 else 1)
    return scores.reindex(values.index)


def regressors(record, names, new, tasks):
    """By metric, tables of networks x tasks of the mean score and of the deviation from it, the new task last."""
    index, found = [*names, *record.accuracies.index.difference(names)], []
    for metric, given in new.items():
        s = pd.DataFrame(np.nan, index, [*tasks, "the new one"])
        if metric in record.scores:
            for task in tasks:
                s.loc[names, task] = normal_scores(record.scores[metric][task].reindex(names))
        own = normal_scores(pd.Series(given, dtype=float).reindex(names)).fillna(0)
        s.loc[names, "the new one"] = own
        for name in index:
            usual = s.loc[name].mean() if s.loc[name].notna().any() else 0
            s.loc[name] = s.loc[name].fillna(usual / 2)
        mean = s.mean(axis=1)
        found += [pd.DataFrame(dict.fromkeys(s, mean)), s.sub(mean, axis=0)]
    return index, found


def fit(record, names, new):
    """Mean and covariance of z on the new task, and a level and a spread of each past one."""
    tasks = [task for task in record.accuracies if record.accuracies[task].notna().sum() > 1]
    index, s = regressors(record, names, new, tasks)
    y = record.accuracies.reindex(index)[tasks].clip(1e-3, 1 - 1e-3).apply(logit)
    spreads = y.std(ddof=0)
    differ = spreads > 1e-12
    spreads = spreads.where(differ, spreads[differ].mean() if differ.any() else 1.0)
    z = (y - y.mean()) / spreads
    cells = [(name, task) for name in index for task in tasks if pd.notna(z.loc[name, task])]
    values = np.array([z.loc[cell] for cell in cells])
    x = np.array([[*(name == other for other in index), *(each.loc[name, task] for each in s)] for name, task in cells], float)
    of_task = np.array([[task == other for other in tasks] for _, task in cells], float)
    contrasts = null_space(of_task.T)  # free of the levels
    J, n = len(new), len(index)
    prior = np.array([0.0] * n + [0.5 / max(1, J), 0.2 / max(1, J)] * J)
    rest, x_free = contrasts.T @ (values - x @ prior), contrasts.T @ x
    best = None
    for r in RATIOS:
        of_prior = np.diag([r] * n + [0.15**2 / max(1, J) / 0.4] * 2 * J)
        marginal = x_free @ of_prior @ x_free.T + np.eye(len(rest))  # of sigma^2
        total = 10 * 0.4 + rest @ np.linalg.solve(marginal, rest)
        freedom = 10 + len(rest) - len(tasks)  # beside the levels, the spreads have been taken out
        density = -np.linalg.slogdet(marginal)[1] / 2 - freedom / 2 * np.log(total)
        density += stats.norm.logpdf(np.log(r), np.log(0.6 / 0.4), 0.5)
        if best is None or density > best[0]:
            best = density, of_prior, marginal, total / freedom
    _, of_prior, marginal, variance = best
    gain = of_prior @ x_free.T @ np.linalg.inv(marginal)
    effects = prior + gain @ rest
    covariance = variance * (of_prior - gain @ x_free @ of_prior)
    e = z.copy()
    for m, name in enumerate(index):
        for task in tasks:
            e.loc[name, task] -= effects[m] + sum(w * each.loc[name, task] for w, each in zip(effects[n:], s))
    levels = e.mean()
    e = (e - levels).fillna(0)
    weight = np.sqrt(10 + z.notna().sum(axis=1))
    residuals = (10 * variance * np.eye(n) + e @ e.T) / np.outer(weight, weight)
    of_new = np.array([[*(name == other for other in index), *(each.loc[name, "the new one"] for each in s)] for name in names], float)
    k = len(names)
    return of_new @ effects, of_new @ covariance @ of_new.T + residuals.to_numpy()[:k, :k], y.mean() + spreads * levels, spreads


def forecast(record, names, new=None, observed=None):
    """Mean and variance of the forecasts of sorted `names`."""
    names = sorted(names)
    mean, covariance, levels, spreads = fit(record, names, new or {})
    if not observed:
        return mean, np.diag(covariance)
    seen = [names.index(name) for name in observed]
    y = logit(np.clip(list(observed.values()), 1e-3, 1 - 1e-3))
    densities, centres, bases, variances = [], [], [], []
    for level, spread in zip(levels, spreads):
        # The level A, then all logits, then those that were observed, jointly normal.
        m = len(names)
        centre = np.r_[level, level + spread * mean, (level + spread * mean)[seen]]
        joint = np.full((1 + m + len(seen), 1 + m + len(seen)), LEVEL**2)
        of = np.r_[np.arange(m), seen]
        joint[1:, 1:] += spread**2 * covariance[np.ix_(of, of)]
        joint[1 + m :, 1 + m :] += spread**2 * NOISE * np.eye(len(seen))
        gain = joint[: 1 + m, 1 + m :] @ np.linalg.inv(joint[1 + m :, 1 + m :])
        after = centre[: 1 + m] + gain @ (y - centre[1 + m :])
        densities.append(stats.multivariate_normal.logpdf(y, centre[1 + m :], joint[1 + m :, 1 + m :]))
        bases.append(after[0])
        centres.append(after[1:])
        variances.append(np.diag(joint[: 1 + m, : 1 + m] - gain @ joint[1 + m :, : 1 + m])[1:])
    weights = softmax(np.array(densities) / 2)
    unit = np.sqrt(weights @ spreads**2)
    centre = weights @ np.array(centres)
    variance = weights @ (np.array(variances) + (np.array(centres) - centre) ** 2)
    return (centre - weights @ bases) / unit, variance / unit**2
