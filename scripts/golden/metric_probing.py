#!/usr/bin/env python3
"""Writes tests/golden/data/metrics/probing.json: k-sparse probes from their definitions, in float64."""
import json
import math

from labelled import case_of, dot, group_of, jackknife, lda, make_rows, order_of, part_of, solve

SIZES = [1, 2, 5, 16]
FIGURES = ["accuracy", "auc", "f1", "balanced_accuracy"]


def logistic(f, on, C):
    """Weights and intercept; each class has half of the weight of all rows. Damped Newton from 0."""
    k, count = len(f[0]) if f[0] else 0, len(f)
    weight = [count / (2 * on.count(o)) for o in on]
    f = [row + [1.0] for row in f]

    def loss(w):
        total = [a * (math.log1p(math.exp(-abs(s))) + (max(-s, 0) if o else max(s, 0)))
                 for s, o, a in ((dot(row, w), o, a) for row, o, a in zip(f, on, weight))]
        return math.fsum(total) + dot(w[:k], w[:k]) / (2 * C)

    w = [0.0] * (k + 1)
    for _ in range(200):
        g, h = [v / C for v in w[:k]] + [0.0], [[0.0] * (k + 1) for _ in range(k + 1)]
        for i in range(k):
            h[i][i] = 1 / C
        for row, o, a in zip(f, on, weight):
            p = 1 / (1 + math.exp(-dot(row, w)))
            for i in range(k + 1):
                g[i] += a * (p - o) * row[i]
                for j in range(k + 1):
                    h[i][j] += a * p * (1 - p) * row[i] * row[j]
        step = solve(h, g)
        scale = 1.0
        while scale > 1e-4 and loss([a - scale * b for a, b in zip(w, step)]) > loss(w) + 1e-13:
            scale /= 2
        w = [a - scale * b for a, b in zip(w, step)]
        if max(map(abs, step)) <= 1e-13 * max(1, max(map(abs, w))):
            break
    return w[:k], w[k]


def auc(score, on):
    pos = [s for s, o in zip(score, on) if o]
    neg = [s for s, o in zip(score, on) if not o]
    won = sum((p > q) + (p == q) / 2 for p in pos for q in neg)
    return won / (len(pos) * len(neg))


def figures(score, on, share):
    def rate(side, threshold):
        told = [(s > threshold) == bool(side) for s, o in zip(score, on) if o == side]
        return sum(told) / len(told)

    a, b = rate(1, 0), rate(0, 0)
    prior = -math.log(share / (1 - share))
    balanced_f1 = []
    for tp, fp in ((a, 1 - b), (b, 1 - a)):
        balanced_f1.append(2 * tp / (2 * tp + fp + (1 - tp)))
    return {"accuracy": share * rate(1, prior) + (1 - share) * rate(0, prior),
            "auc": auc(score, on), "f1": sum(balanced_f1) / 2, "balanced_accuracy": (a + b) / 2}


def tasks_of(rows, labels, o):
    order = order_of(rows["tok"])
    part = [part_of(t[0]) for t in rows["tok"]]
    for l, classes in enumerate(labels):
        of = rows["of"][l]
        train = [r for r in order if part[r] != "test" and of[r] >= 0]
        test = [r for r in order if part[r] == "test" and of[r] >= 0]
        found = []
        for c in range(classes):
            ok = not (classes == 2 and c == 0)
            for side in (True, False):
                mine = [r for r in test if (of[r] == c) == side]
                ok &= len(mine) >= o["min_rows"]
                ok &= len([r for r in train if (of[r] == c) == side]) >= o["min_rows"]
                ok &= len({group_of(rows["tok"][r][0]) for r in mine}) > 1
            if ok:
                found.append(c)
        found.sort(key=lambda c: (-len([r for r in train if of[r] == c]), c))
        for c in found[:o["classes"]]:
            def take(name, most):
                out = []
                for r in order:
                    side = of[r] == c
                    if of[r] >= 0 and part[r] == name and \
                            len([q for q in out if (of[q] == c) == side]) < most // 2:
                        out.append(r)
                return out
            fit = o["train"] * 4 // 5
            yield {"label": l, "class": c, "fit": take("fit", fit),
                   "valid": take("valid", o["train"] - fit), "test": take("test", o["test"]),
                   "all_train": train[:2 * o["train"]], "of": of,
                   "share": len([r for r in train if of[r] == c]) / len(train)}


def sparse_probe(task, read, k, o):
    """Scores of the test rows by a probe of the k best features."""
    on = {r: int(task["of"][r] == task["class"]) for r in task["fit"] + task["valid"] + task["test"]}
    train = task["fit"] + task["valid"]
    rank = []
    for j in range(len(read[0])):
        side = [[read[r][j] for r in train if on[r] == s] for s in (0, 1)]
        active = [abs(read[r][j]) for r in train if read[r][j] != 0]
        gap = abs(math.fsum(side[1]) / len(side[1]) - math.fsum(side[0]) / len(side[0]))
        if active and gap > 0:
            rank.append((-gap / (math.fsum(active) / len(active)), j))
    best = [j for _, j in sorted(rank)[:k]]
    spread = []
    for j in best:
        v = [read[r][j] for r in train]
        mean = math.fsum(v) / len(v)
        spread.append(math.sqrt(math.fsum((a - mean) ** 2 for a in v) / len(v)))
    f = {r: [read[r][j] / s for j, s in zip(best, spread)] for r in on}
    grid = [10 ** (-5 + 10 * i / (o["grid"] - 1)) for i in range(o["grid"])]
    chosen = grid[-1]
    if len(best) > 1:
        most = -1
        for C in grid:
            w, b = logistic([f[r] for r in task["fit"]], [on[r] for r in task["fit"]], C)
            v = auc([dot(f[r], w) + b for r in task["valid"]], [on[r] for r in task["valid"]])
            if v >= most:
                most, chosen = v, C
    w, b = logistic([f[r] for r in train], [on[r] for r in train], chosen)
    return [dot(f[r], w) + b for r in task["test"]]


def full_probe(task, x):
    w, b = lda([x[r] for r in task["all_train"]],
               [int(task["of"][r] == task["class"]) for r in task["all_train"]])
    return [dot(w, x[r]) + b for r in task["test"]]


def expected(rows, labels, o):
    stock = [[max(v, 0.0) for v in z] for z in rows["z"]]
    reads = {"{}_{}": rows["z"], "{}_{}_stock": stock, "x_{}_{}": rows["x"]}
    tasks, judged = list(tasks_of(rows, labels, o)), {}
    for task in tasks:
        on = [int(task["of"][r] == task["class"]) for r in task["test"]]
        group = [group_of(rows["tok"][r][0]) for r in task["test"]]
        probes = {(pattern, f"k{k}"): sparse_probe(task, read, k, o)
                  for pattern, read in reads.items() for k in SIZES}
        probes["{}_{}", "x"] = full_probe(task, rows["x"])
        probes["{}_{}", "xhat"] = full_probe(task, rows["xhat"])
        for name, score in probes.items():
            judged.setdefault(name, []).append((score, on, group, task["share"]))
    out, se = {"tasks": [len(tasks), 0]}, {}
    groups = {g for t in tasks for g in (group_of(rows["tok"][r][0]) for r in t["test"])}
    for (pattern, k), scored in judged.items():
        for f in FIGURES:
            def value(without):
                v = []
                for score, on, group, share in scored:
                    keep = [i for i, g in enumerate(group) if g != without]
                    v.append(figures([score[i] for i in keep], [on[i] for i in keep], share)[f])
                return math.fsum(v) / len(v)
            key = pattern.format(k, f)
            out[key] = [value(None), 1]
            se[key] = [jackknife(groups, value), 16]  # a root of sums of squares of differences
    return out, se


def main():
    cases, d, n = [], 4, 12
    o = {"train": 120, "test": 80, "classes": 2, "min_rows": 8, "grid": 4}
    spec = "probing:" + ",".join(f"{k}={v}" for k, v in o.items())
    for seed, negative in ((1, False), (2, True)):
        labels = [2, 3]
        rows = make_rows(seed, 48, 8, d, n, labels, negative)
        out, se = expected(rows, labels, o)
        cases.append(case_of(spec, rows, labels, {"rows": out, "se": se}))
    with open("tests/golden/data/metrics/probing.json", "w") as f:
        json.dump({"d": d, "n": n, "cases": cases}, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
