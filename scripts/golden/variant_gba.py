"""scripts/golden/variant_gba.py > tests/golden/data/variants/gba.json

Group Bias Adaptation in float64 from its equations (variants/gba.md): forward, gradients by reverse
mode, the statistics that every step adds and the controller that moves the biases.
"""
from number import Inputs, Num, grad, grad_pairs, listing, num, numbers, pairs, total, write

B, D, N = 4, 4, 8


def forward(p, theta, case):
    """Codes {(row, feature): a z}, {(row, feature): z}, xhat, loss."""
    scale = p["a"][0] if case["scale"] == "train" else [v.detach() for v in p["a"][0]]
    pre = p["b_dec"][0] if case["b_pre"] == "train" else [v.detach() for v in p["b_dec"][0]]
    z, code, xhat, loss = {}, {}, [], num(0)
    for r, x in enumerate(case["x"]):
        xc = [num(v) - b for v, b in zip(x, pre)]
        row = list(pre)
        for j, w in enumerate(p["W_dec"]):
            u = total(a * b for a, b in zip(xc, w))
            y = u - theta[j]
            if y.v <= 0:
                continue
            z[r, j] = u if case["act"] == "gate" else y
            code[r, j] = scale[j] * z[r, j]
            row = [a + code[r, j] * b for a, b in zip(row, w)]
        xhat.append(row)
        loss = loss + total((a - b) * (a - b) for a, b in zip(row, x)) / B
    return code, z, xhat, loss


def targets(case):
    K, size, more = case["groups"], N // case["groups"], N % case["groups"]
    out = []
    for k in range(K):
        share = k / (K - 1) if K > 1 else 0
        out += [(k, case["htf"] * (case["ltf"] / case["htf"]) ** share)] * (size + (k < more))
    return out


def adapt(theta, stats, case):
    """theta after an adaptation, with what happened to each neuron."""
    peaks = [max(0, m - (t if case["act"] == "gate" else 0))
             for m, t in zip(stats["peak"], theta)]
    mean = lambda v: sum(v) / len(v) if v else None
    everyone, out, what = mean([r for r in peaks if r > 0]), [], set()
    for j, (group, target) in enumerate(targets(case)):
        own = [r for r, (k, _) in zip(peaks, targets(case)) if k == group and r > 0]
        R = mean(own) if own else everyone or 0
        frequency, t = stats["count"][j] / stats["rows"], theta[j]
        if frequency > target:
            t = min(t + case["down"] * peaks[j], -case["b_min"])
            what.add("floor" if t == -case["b_min"] else "down")
        elif frequency < 1e-6:
            t = max(t - case["up"] * R, 0)
            what.add("ceiling" if t == 0 else "up" if own else "lent")
        else:
            what.add("stay")
        out.append(t)
    return out, what


CASES = [
    dict(act="gate", b_pre="zero", scale="train", step=49, seed=1),
    dict(act="relu", b_pre="zero", scale="train", step=49, seed=2, htf=0.5, ltf=0.25, down=2.5),
    dict(act="gate", b_pre="train", scale="train", step=3, seed=3, period=4, b_min=-0.5, up=0.25),
    dict(act="relu", b_pre="train", scale="fixed", step=4, seed=4, period=2),
    dict(act="gate", b_pre="mean", scale="fixed", step=1, seed=5, groups=1, period=1, up=0.125),
    dict(act="gate", b_pre="mean", scale="train", step=99, seed=6, groups=8, down=0.5, negative=1),
]
DEFAULTS = dict(htf=0.5, ltf=0.125, groups=3, period=50, up=0.01, down=0.01, b_min=-1)


def solve(case):
    case = dict(DEFAULTS, **case)
    rnd = Inputs(case["seed"])
    p = {"a": [[v + 1.5 for v in rnd.matrix(1, N, -4, 4)[0]]], "W_dec": rnd.matrix(N, D),
         "b_dec": rnd.matrix(1, D, -4, 4)}
    if case.get("negative"):
        p["a"][0][3] = -0.25
    case["x"] = rnd.matrix(B, D)
    theta = rnd.matrix(1, N, 0, 4)[0]
    theta[0] = 3.5  # silent in the batch, and before it as well
    count = [0, 0, 12, 8, 1, 0, 0, 3]
    peak = [0 if c == 0 else t + v for c, t, v in zip(count, theta, rnd.matrix(1, N, 1, 9)[0])]
    stats = {"rows": 12, "count": count, "peak": peak}
    leaves = {k: numbers(m) for k, m in p.items()}
    code, z, xhat, loss = forward(leaves, theta, case)
    grad(0.5 * loss)
    after = {"rows": stats["rows"] + B, "count": list(count), "peak": list(peak)}
    for (_, j), v in z.items():
        after["count"][j] += 1
        after["peak"][j] = max(after["peak"][j], v.v)
    state, what, new = dict(after), set(), theta
    if (case["step"] + 1) % case["period"] == 0:
        new, what = adapt(theta, after, case)
        state = {"rows": 0, "count": [0] * N, "peak": [0] * N}
    later = {k: numbers(m) for k, m in p.items()}
    later["a"] = [[v if v.v > 0 else Num(0) for v in later["a"][0]]]
    evaluated = forward(later, new, case)[0]
    relu = case["act"] == "relu"
    spec = "gba:act={act},b_pre={b_pre},scale={scale},htf={htf},ltf={ltf},groups={groups}," \
           "period={period},up={up},down={down},b_min={b_min}"
    exact = lambda v: [v, [abs(x) for x in v]]
    return what, {
        "spec": spec.format(**case), "step": case["step"], "steps": 200, "x": case["x"],
        "tensors": dict(p, theta=[theta], b_enc=[[-t if relu else 0 for t in theta]],
                        rows=[[stats["rows"]]], count=[count], peak=[peak]),
        "tokens": 0, "last_fired": [0] * N,
        "train": {"code": listing(code), "xhat": pairs(xhat), "loss": pairs([[loss]]),
                  "coef": [[0.5], [0.5]],
                  "grad": {k: grad_pairs(m) for k, m in leaves.items()}},
        "after": {"theta": exact(new) + [True], "b_enc": exact([-t if relu else 0 for t in new]),
                  "a": pairs(later["a"]), "peak": exact(state["peak"]),
                  "count": [state["count"]], "rows": [[state["rows"]]]},
        "eval": {"code": listing({k: v for k, v in evaluated.items() if v.v != 0})},
    }


def main():
    solved = [solve(case) for case in CASES]
    seen = set().union(*(what for what, _ in solved))
    assert seen == {"down", "floor", "up", "lent", "ceiling", "stay"}, seen
    write("scripts/golden/variant_gba.py", B, D, N, [c for _, c in solved])


main()
