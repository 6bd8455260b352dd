#!/usr/bin/env python3
"""Writes tests/golden/data/metrics/absorption.json: feature absorption from its definition, in
float64."""
import json
import math
import random

from labelled import case_of, dot, eighth, group_of, jackknife, lda, make_rows, order_of, part_of
from metric_probing import logistic

O = {"min_rows": 8, "jump": 0.03, "min_f1": 0.5, "ridge": 0.1}


def f1(told, on):
    hits = sum(1 for t, o in zip(told, on) if t and o)
    wrong = sum(1 for t, o in zip(told, on) if bool(t) != bool(o))
    return 2 * hits / (2 * hits + wrong) if hits or wrong else 0.0


def ranked(z, on, stock):
    """Latents by the rule of sae-probes, of those that may stand for the class."""
    out = []
    for j in range(len(z[0])):
        side = [[r[j] for r, o in zip(z, on) if o == s] for s in (0, 1)]
        active = [abs(r[j]) for r in z if r[j]]
        mean = [math.fsum(v) / len(v) for v in side]
        gap = mean[1] - mean[0]
        fits = gap > 0 if stock else gap * mean[1] > 0
        if active and gap and fits:
            out.append((-abs(gap) / (math.fsum(active) / len(active)), j))
    return [j for _, j in sorted(out)]


def splits_of(z, fit, valid, on, share, stock):
    best = ranked([z[r] for r in fit], [on[r] for r in fit], stock)[:10]
    f, top, count = {r: [] for r in fit + valid}, 0, 0
    for k, j in enumerate(best, 1):
        v = [z[r][j] for r in fit]
        mean = math.fsum(v) / len(v)
        spread = math.sqrt(math.fsum((a - mean) ** 2 for a in v) / len(v))
        for r in f:
            f[r].append(z[r][j] / spread)
        w, b = logistic([f[r] for r in fit], [on[r] for r in fit], 1.0)
        odds = math.log(share / (1 - share))
        got = f1([dot(f[r], w) + b + odds > 0 for r in valid], [on[r] for r in valid])
        if k > 1 and not got > top + O["jump"]:
            break
        top, count = got, k
    return best[:count]


def absorbed(case, r, p, splits, stock):
    """(fraction, full) of one row, p the unit direction of the probe."""
    scale, shift = case["norm"][r]
    whole = dot(p, [x - shift - scale * b for x, b in zip(case["x"][r], case["b_dec"][0])])
    main, others, top, fired = 0.0, [], (0.0, 0.0), False
    for i, (z, atom) in enumerate(zip(case["z"][r], case["W_dec"])):
        q, cosine = scale * z * dot(atom, p), dot(atom, p) / math.sqrt(dot(atom, atom))
        cosine = cosine if stock else abs(cosine)
        if q > top[0]:
            top = (q, cosine)
        if i in splits:
            main += q
            fired |= (z if stock else abs(z)) >= 1e-8
        elif q > 0 and cosine >= 0.1:
            others.append(q)
    most = sum(sorted(others)[-3:])
    full = not fired and whole >= 0 and top[1] >= 0.025 and top[0] / whole >= 0.4
    if main >= whole or most / whole < 0.4:
        return 0.0, float(full)
    if main <= 0:
        return 1.0, float(full)
    a = min(most, whole - main)
    return a / (a + main), float(full)


def expected(case, of, classes):
    part = [part_of(t[0]) for t in case["tok"]]
    rows = {p: [r for r in order_of(case["tok"]) if part[r] == p and of[r] >= 0]
            for p in ("fit", "valid", "test")}
    train, per_class = rows["fit"] + rows["valid"], []
    for c in range(classes):
        on = [int(v == c) for v in of]
        share = sum(on[r] for r in train) / len(train)
        w, b = lda([case["x"][r] for r in train], [on[r] for r in train], O["ridge"])
        odds = math.log(share / (1 - share))
        told = {r: dot(w, case["x"][r]) + b + odds > 0 for r in rows["test"]}
        gt = f1([told[r] for r in rows["test"]], [on[r] for r in rows["test"]])
        mine = [r for r in rows["test"] if on[r] and told[r]]
        if not gt > O["min_f1"] or len({group_of(case["tok"][r][0]) for r in mine}) < 2:
            continue
        p = [v / math.sqrt(dot(w, w)) for v in w]
        one = {"f1": gt}
        for mode in ("", "_stock"):
            s = splits_of(case["z"], rows["fit"], rows["valid"], on, share, mode != "")
            one["splits" + mode] = len(s)
            one[mode] = [(group_of(case["tok"][r][0]), *absorbed(case, r, p, s, mode != ""))
                         for r in mine]
        per_class.append(one)
    count = len(per_class)
    out = {"classes": [count, 0], "probe_f1": [sum(c["f1"] for c in per_class) / count, 1]}
    se, groups = {}, {g for c in per_class for g, *_ in c[""]}
    for mode in ("", "_stock"):
        for k, name in ((1, "fraction"), (2, "full")):
            def shares(without):
                out = []
                for c in per_class:
                    v = [row[k] for row in c[mode] if row[0] != without]
                    out.append(sum(v) / len(v))
                return out
            v = shares(None)
            out[name + mode] = [sum(v) / count, 16]
            out[f"{name}_sd{mode}"] = [spread(v), 16]
            se[name + mode] = [jackknife(groups, lambda g: sum(shares(g)) / count), 64]
        v = [c["splits" + mode] for c in per_class]
        out["splits" + mode], out["splits_sd" + mode] = [sum(v) / count, 4], [spread(v), 64]
    return out, se


def spread(v):
    mean = sum(v) / len(v)
    return math.sqrt(sum((a - mean) ** 2 for a in v) / (len(v) - 1))


def main():
    d, n, labels, cases = 4, 12, [2, 3], []
    for seed, negative in ((5, False), (6, True)):
        rng = random.Random(seed)
        raw = make_rows(seed, 48, 8, d, n, labels, negative)
        case = {**raw, "norm": [[rng.choice([0.5, 1.0, 2.0]), rng.choice([0.0, 0.25])]
                                for _ in raw["tok"]],
                "b_dec": [[eighth(rng.gauss(0, 0.3)) for _ in range(d)]]}
        atoms = []  # near the mean row where the latent is active
        for j in range(n):
            active = [x for x, z in zip(raw["x"], raw["z"]) if z[j]]
            atoms.append([eighth(2 * math.fsum(c) / len(active) + rng.gauss(0, 0.3))
                          for c in zip(*active)])
        case["W_dec"] = atoms
        out, se = expected(case, raw["of"][1], 3)
        spec = "absorption:labels=label1," + ",".join(f"{k}={v}" for k, v in O.items())
        extra = {k: case[k] for k in ("norm", "b_dec", "W_dec")}
        cases.append(case_of(spec, raw, labels, {**extra, "rows": out, "se": se}))
    # gemm runs in float: results are discrete or, for fractions, off by its rounding
    for c in cases:
        for key in ("rows", "se"):
            for name, v in c[key].items():
                if name.startswith("fraction"):
                    v.append(True)
    with open("tests/golden/data/metrics/absorption.json", "w") as f:
        json.dump({"d": d, "n": n, "cases": cases}, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
