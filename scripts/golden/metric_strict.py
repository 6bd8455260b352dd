"""scripts/golden/metric_strict.py - writes the golden files of reconstruction, sparsity and
downstream from the definitions of metrics/*.md: python3 scripts/golden/metric_strict.py, in the
repository's root."""
import math

from metric import (dot, entries, group, number, one, passes, put, quantile, quantile_se, ratio,
                    world, write)

D, N, B = 4, 6, 27


def put_quantile(out, se, key, pairs, size):
    out[key] = number(quantile([v for _, v in pairs], 0.99), size)
    se[key] = number(quantile_se(pairs, 0.99), size)


def reconstruction(seed):
    c = world(seed, B, D, N)
    c["metric"] = "reconstruction"
    c["x"][4] = [0.0] * D
    rows = []
    for t, x, h in zip(c["tok"], c["x"], c["xhat"]):
        e = [a - b for a, b in zip(x, h)]
        rows.append((group(t[0]), dot(e, e), dot(x, x), dot(h, h), dot(x, h), x))
    some = [v for v in rows if v[2] > 0]

    def fvu(r):
        mean = [math.fsum(v[5][k] for v in r) / len(r) for k in range(D)]
        far = math.fsum((v[5][k] - mean[k]) ** 2 for v in r for k in range(D))
        return math.fsum(v[1] for v in r) / far

    cosine = lambda v: v[4] / math.sqrt(v[2] * v[3]) if v[2] * v[3] > 0 else float(v[2] == v[3])
    root = lambda k: lambda v: math.sqrt(v[k])
    out, se = {}, {}
    for key, data, f in (
            ("mse", rows, ratio(lambda v: v[1], one)),
            ("mse_per_element", rows, ratio(lambda v: v[1] / D, one)),
            ("nmse", some, ratio(lambda v: v[1] / v[2], one)),
            ("nmse_pooled", rows, ratio(lambda v: v[1], lambda v: v[2])),
            ("fvu", rows, fvu), ("explained_variance", rows, lambda r: 1 - fvu(r)),
            ("cosine", rows, ratio(cosine, one)), ("l2_norm", rows, ratio(root(2), one)),
            ("l2_ratio", some, ratio(lambda v: math.sqrt(v[3] / v[2]), one)),
            ("l2_ratio_of_means", rows, ratio(root(3), root(2))),
            ("relative_bias", rows, ratio(lambda v: v[3], lambda v: v[4])),
            ("abs_error", rows, ratio(root(1), one)),
            ("rel_error", some, ratio(lambda v: math.sqrt(v[1] / v[2]), one))):
        put(out, se, key, data, f, 20)
    put_quantile(out, se, "abs_error_p99", [(v[0], math.sqrt(v[1])) for v in rows], 20)
    put_quantile(out, se, "rel_error_p99", [(v[0], math.sqrt(v[1] / v[2])) for v in some], 20)
    c.update(rows=out, se=se, series={})
    return c


def sparsity(seed, by_row=False):
    c = world(seed, B, D, N, signed=True)
    c["metric"] = "sparsity:threshold=0.5,rare=0.2,dead_value=1.5"
    c["scale"] = 2
    c["code"] = [e for e in c["code"] if e[1] != 3] # a dead feature
    scale = [1 + i % 3 if by_row else 2 for i in range(B)]
    if by_row:
        c["norm"] = [[s, i] for i, s in enumerate(scale)]
    rows = [(group(t[0]), [v for _, v in row], s)
            for t, row, s in zip(c["tok"], entries(c), scale)]
    density = lambda test: [sum(j == k and test(v) for _, k, v in c["code"]) / B for j in range(N)]
    any_value = density(lambda v: v != 0)
    share = lambda test: number(sum(test(v) for v in any_value) / N, 1)
    out, se = {}, {}
    for key, f in (("l0", lambda v: len(v[1])), ("l0_positive", lambda v: sum(u > 0 for u in v[1])),
                   ("l0_threshold", lambda v: sum(u > 0.5 for u in v[1])),
                   ("l1", lambda v: v[2] * math.fsum(abs(u) for u in v[1]))):
        put(out, se, key, rows, ratio(f, one), 20)
    put_quantile(out, se, "l0_p99", [(g, len(v)) for g, v, _ in rows], 20)
    out.update(dead_share=share(lambda v: v == 0), rare_share=share(lambda v: 0 < v < 0.2),
               share_above_1pct=share(lambda v: v > 0.01),
               share_above_10pct=share(lambda v: v > 0.1),
               density_min=number(min(any_value), 1), density_max=number(max(any_value), 1),
               dead_share_positive=number(density(lambda v: v > 0).count(0) / N, 1),
               dead_share_value=number(density(lambda v: abs(v) > 1.5).count(0) / N, 1))
    series = {"density": [[j, number(v, 1)] for j, v in enumerate(any_value)],
              "density_positive": [[j, number(v, 1)]
                                   for j, v in enumerate(density(lambda v: v > 0))]}
    c.update(rows=out, se=se, series=series)
    return c


def downstream(seed):
    c = world(seed, B, D, N)
    c["metric"] = "downstream:positions=3"
    c["splice"] = p = passes(seed, c["tok"])
    names = ("ce_clean", "ce_splice", "ce_zero", "ce_mean", "kl_splice", "kl_zero", "ce_zero_all",
             "kl_zero_all")
    rows = [(group(p["tok"][t][0]), {k: p[k][t] for k in names}, p["kept"][t],
             p["top_clean"][t] == p["top_splice"][t], p["tok"][t][1]) for t in range(p["T"])]
    seen = [v for v in rows if v[2]]
    mean = lambda k: ratio(lambda v: v[1][k], one)
    back = lambda lost, got, base: ratio(lambda v: v[1][lost] - v[1][got],
                                         lambda v: v[1][lost] - (v[1][base] if base else 0.0))
    increase = ratio(lambda v: v[1]["ce_splice"] - v[1]["ce_clean"], one)
    out, se = {}, {}
    for key, data, f in (
            ("ce_clean", rows, mean("ce_clean")), ("ce_spliced", rows, mean("ce_splice")),
            ("ce_zero", rows, mean("ce_zero")), ("ce_mean", rows, mean("ce_mean")),
            ("ce_increase", rows, increase),
            ("loss_recovered_zero", rows, back("ce_zero", "ce_splice", "ce_clean")),
            ("loss_recovered_mean", rows, back("ce_mean", "ce_splice", "ce_clean")),
            ("kl_spliced", rows, mean("kl_splice")), ("kl_zero", rows, mean("kl_zero")),
            ("kl_recovered", rows, back("kl_zero", "kl_splice", None)),
            ("ce_zero_with_bos", rows, mean("ce_zero_all")),
            ("loss_recovered_zero_with_bos", rows, back("ce_zero_all", "ce_splice", "ce_clean")),
            ("kl_zero_with_bos", rows, mean("kl_zero_all")),
            ("kl_recovered_with_bos", rows, back("kl_zero_all", "kl_splice", None)),
            ("ce_clean_without_bos", seen, mean("ce_clean")),
            ("ce_spliced_without_bos", seen, mean("ce_splice")),
            ("ce_increase_without_bos", seen, increase),
            ("kl_spliced_without_bos", seen, mean("kl_splice")),
            ("top_agreement", seen, ratio(lambda v: v[3], one))):
        put(out, se, key, data, f, 20)
    for key in list(se): # a group whose only rows score nothing is left out in turn there too
        if key.endswith("without_bos") or key == "top_agreement":
            del se[key]
    at = {k: [v for v in rows if v[4] == k] for k in range(3)}
    c.update(rows=out, se=se, series={"ce_increase_by_position": [
        [k, number(increase(v), 20)] for k, v in at.items() if v]})
    return c


write("reconstruction", D, N, [reconstruction(1), reconstruction(2)])
write("sparsity", D, N, [sparsity(3), sparsity(4), sparsity(5, by_row=True)])
write("downstream", D, N, [downstream(5), downstream(6)])
