"""scripts/golden/metric_saebench06.py - writes the golden file of that family from the definitions
of metrics/saebench06.md: python3 scripts/golden/metric_saebench06.py, in the repository's root."""
import math

from metric import entries, group, jackknife, number, passes, world, write

D, N, B = 4, 6, 27


def dot(a, b):
    return math.fsum(u * v for u, v in zip(a, b))


def batches(case, size):
    """Lists of row numbers; a rest counts only if there is nothing else."""
    whole = [list(range(i, i + size)) for i in range(0, B - size + 1, size)]
    return whole or [list(range(B))]


def batched_rows(case, at, cut):
    """Rows of whole batches: group, 1 / N_t, |e|^2 / N_t, |x|^2 / N_t, legacy variance."""
    out = []
    for rows in cut:
        n = len(rows)
        mean = [math.fsum(case["x"][i][c] for i in rows) / n for c in range(D)]
        for i in rows:
            x, h = case["x"][i], case["xhat"][i]
            ee = dot([a - b for a, b in zip(x, h)], [a - b for a, b in zip(x, h)])
            dev = dot([a - b for a, b in zip(x, mean)], [a - b for a, b in zip(x, mean)])
            out.append((at[i], 1 / n, ee / n, dot(x, x) / n, 1 - ee / dev))
    return out


def explained(rows):
    w, r, s = (math.fsum(v[k] for v in rows) for k in (1, 2, 3))
    m = s / w / D
    return 1 - r / w / (s / w - m * m)


def bias(case, cut):
    ratio = lambda rows: (math.fsum(dot(case["xhat"][i], case["xhat"][i]) for i in rows) /
                          math.fsum(dot(case["x"][i], case["xhat"][i]) for i in rows))
    return math.fsum(ratio(rows) for rows in cut) / len(cut)


def row_values(case, at):
    """Per row: group, |x|, |h|, ratio, cosine, L0, L1."""
    out = []
    for i, row in enumerate(entries(case)):
        x, h = case["x"][i], case["xhat"][i]
        a, b = math.sqrt(dot(x, x)), math.sqrt(dot(h, h))
        out.append((at[i], a, b, b / (a if a >= 1e-4 else 1), dot(x, h) / (a * b),
                    sum(v != 0 for _, v in row), math.fsum(v for _, v in row)))
    return out


def mean(k):
    return lambda rows: math.fsum(v[k] for v in rows) / len(rows)


def firing(case):
    """Of every feature: rows with a positive value, and documents with such rows."""
    rows = [set() for _ in range(N)]
    for i, j, v in case["code"]:
        if v > 0:
            rows[j].add(i)
    return [(len(r), len({case["tok"][i][0] for i in r})) for r in rows]


def nearest(w):
    unit = [math.sqrt(dot(r, r)) for r in w]
    cos = lambda i, j: dot(w[i], w[j]) / (unit[i] * unit[j]) if unit[i] * unit[j] else 0.0
    return [max(cos(i, j) for j in range(N) if j != i) for i in range(N)]


def features(case, out, series):
    fired = firing(case)
    density = [f / B for f, _ in fired]
    total = math.fsum(density)
    out["frac_alive"] = number(sum(v > 0 for v in density) / N)
    for name, limit in (("1", 0.01), ("10", 0.1)):
        over = [v for v in density if v > limit]
        out[f"freq_over_{name}_percent"] = number(len(over) / N, 1)
        out[f"normalized_freq_over_{name}_percent"] = number(math.fsum(over) / total, 1)
    for name in ("encoder", "decoder"):
        best = nearest(case["W_" + name[:3]])
        out[f"average_max_{name}_cosine_sim"] = number(sum(best) / N, 1, True)
        series[f"max_{name}_cosine_sim"] = [[j, number(v, 1, True)] for j, v in enumerate(best)]
    series["feature_density"] = [[j, number(v)] for j, v in enumerate(density)]
    series["consistent_activation_heuristic"] = [[j, number(f / p)]
                                                 for j, (f, p) in enumerate(fired) if p]
    series["encoder_bias"] = [[j, number(v)] for j, v in enumerate(case["b_enc"][0])]
    series["encoder_norm"] = [[j, number(math.sqrt(dot(r, r)) / case["scale"])]
                              for j, r in enumerate(case["W_enc"])]


def losses(case, out, se):
    p = case["splice"]
    seen = [(group(t[0]), *(p[k][i] if i < p["T"] or k[:2] == "kl" else 0.0
                            for k in ("ce_clean", "ce_splice", "ce_zero_all", "kl_splice",
                                      "kl_zero_all")), i < p["T"])
            for i, t in enumerate(p["tok"]) if p["kept"][i]]
    scored = [v for v in seen if v[6]]
    share = lambda a, b, c: lambda r: ((math.fsum(v[a] - v[b] for v in r)) /
                                       math.fsum(v[a] - (v[c] if c else 0.0) for v in r))
    for key, rows, f in (("ce_loss_without_sae", scored, mean(1)),
                         ("ce_loss_with_sae", scored, mean(2)),
                         ("ce_loss_with_ablation", scored, mean(3)),
                         ("ce_loss_score", scored, share(3, 2, 1)),
                         ("kl_div_with_sae", seen, mean(4)),
                         ("kl_div_with_ablation", seen, mean(5)),
                         ("kl_div_score", seen, share(5, 4, None))):
        out[key] = number(f(rows), 10)
        if rows is seen: # a group whose only rows score nothing is left out in turn there too
            se[key] = number(jackknife(rows, f), 100)
    out["total_tokens_eval_reconstruction"] = number(len(p["tok"]))


def expect(case, size):
    at = [group(t[0]) for t in case["tok"]]
    cut = batches(case, size)
    rows, whole = row_values(case, at), batched_rows(case, at, cut)
    big = max(v[3] * len(cut[0]) for v in whole) + max(abs(v[4]) for v in whole)
    out, se, series = {}, {}, {}
    for key, data, f, s in (("l2_norm_in", rows, mean(1), 10), ("l2_norm_out", rows, mean(2), 10),
                            ("l2_ratio", rows, mean(3), 10), ("cossim", rows, mean(4), 4),
                            ("l0", rows, mean(5), 10), ("l1", rows, mean(6), 20),
                            ("mse", whole, mean(2), 10),
                            ("explained_variance_legacy", whole, mean(4), big),
                            ("explained_variance", whole, explained, big)):
        out[key] = number(f(data), s)
        if data is rows: # a group of rows in no whole batch is left out in turn there too
            se[key] = number(jackknife(data, f), 16 * s)
    out["relative_reconstruction_bias"] = number(bias(case, cut), big)
    features(case, out, series)
    tokens = B
    if "splice" in case:
        losses(case, out, se)
        tokens = len(case["splice"]["tok"])
    out["total_tokens_eval_sparsity_variance"] = number(tokens)
    return {"rows": out, "se": se, "series": series}


def case(seed, size, signed, scale, with_model):
    c = world(seed, B, D, N, signed=signed)
    c["W_enc"] = world(seed + 100, B, D, N)["W_dec"]
    c["W_enc"][2] = [0.0] * D
    c["b_enc"] = [[j / 8 for j in range(N)]]
    c["metric"], c["scale"] = f"saebench06:batch_rows={size},details=1", scale
    c["x"][0] = [1e-6, 0.0, 0.0, 0.0] # shorter than 1e-4
    if with_model:
        c["splice"] = passes(seed, c["tok"])
    c.update(expect(c, size))
    return c


write("saebench06", D, N, [case(1, 9, False, 1, True), case(2, 8, True, 4, False),
                           case(3, 2048, True, 1, True)])
