"""scripts/golden/variant_topafa.py [worked] > tests/golden/data/variants/topafa[_worked].json

top-AFA in float64 from its equations (variants/topafa.md), gradients by reverse mode. `worked`: the
three examples of etc/afa_step_by_step.ipynb in the paper's repository; all their features are
positive, and the last of the ranking is never taken.
"""
import math
import sys

from number import Inputs, grad, grad_pairs, listing, num, numbers, pairs, total, write


def prefix(u, score, target, squared):
    """Features of the chosen prefix; u > 0 only, never all of more than one."""
    order = sorted((j for j in range(len(u)) if u[j] > 0), key=lambda j: (-score[j], j))
    most = len(order) - (len(order) == len(u) > 1)
    gaps, c = [], 0.0
    for j in order[:most]:
        c += score[j] ** 2
        gaps.append(abs(c - target ** 2) if squared else abs(math.sqrt(c) - target))
    if not gaps:
        return []
    best = sorted(gaps)
    assert len(best) == 1 or best[1] - best[0] > 1e-3 * best[1], "too close to a tie"
    return order[:gaps.index(best[0]) + 1]


def length(v):
    return math.sqrt(sum(x * x for x in v))


def norm(v):
    s = total(x * x for x in v)
    return s.sqrt() if s.v > 0 else num(0)


def decode(z, p, r, bias):
    row = list(p["b_dec"][0]) if bias else [num(0)] * len(p["b_dec"][0])
    for (q, j), v in z.items():
        if q == r:
            row = [a + v * b for a, b in zip(row, p["W_dec"][j])]
    return row


def mean_square(m):
    return total(v * v for row in m for v in row) / len(m)


def variance(m):
    mean = [sum(c) / len(m) for c in zip(*m)]
    return sum((v - c) ** 2 for row in m for v, c in zip(row, mean)) / len(m)


def forward(p, case):
    x, rows = case["x"], range(len(case["x"]))
    atom = [length([v.v for v in w]) for w in p["W_dec"]]
    b_enc = p["b_enc"][0] if case["bias"] else [v.detach() for v in p["b_enc"][0]]
    z, aux, pre, loss_afa = {}, {}, [], num(0)
    for r in rows:
        xc = [num(v) - b for v, b in zip(x[r], p["b_dec"][0])]
        pre.append([total(a * b for a, b in zip(xc, w)) + c for w, c in zip(p["W_enc"], b_enc)])
        centred = length([v.v for v in xc])
        u = [v.v for v in pre[r]]
        for j in prefix(u, [a * b for a, b in zip(u, atom)], centred, case["squared"]):
            z[r, j] = pre[r][j]
        mine = [v * (atom[j] if case["consistent"] else 1) for (q, j), v in z.items() if q == r]
        off = norm(mine) - (centred if case["consistent"] else length(x[r]))
        loss_afa = loss_afa + off * off / len(x)
    xhat = [decode(z, p, r, True) for r in rows]
    resid = [[a - b for a, b in zip(xhat[r], x[r])] for r in rows]
    d = len(x[0])
    coef = {"row": 1, "element": 1 / d, "fvu": 1 / variance(x) if len(x) > 1 else 1}[case["mse"]]
    now = case["tokens"] + len(x)
    fired = [now if any(j == k for _, k in z) else f for j, f in enumerate(case["last_fired"])]
    dead = [j for j, f in enumerate(fired) if now - f >= case["dead"]] if case["auxk"] else []
    for r in rows:
        ranked = sorted((j for j in dead if pre[r][j].v > 0), key=lambda j: (-pre[r][j].v, j))
        aux.update({(r, j): pre[r][j] for j in ranked[:case["k_aux"]]})
    constant = (lambda v: v.detach()) if case["auxk_detach"] else (lambda v: v)
    off = [[a + constant(b) for a, b in zip(decode(aux, p, r, False), resid[r])] for r in rows]
    loss = [mean_square(resid), loss_afa, mean_square(off) if dead else num(0)]
    return z, xhat, loss, [coef, case["afa"], case["auxk"] * coef if dead else 0], len(dead)


DEFAULTS = dict(afa=1 / 32, squared=0, consistent=0, bias=0, mse="element", auxk=1 / 32, k_aux=2,
                dead=100, auxk_detach=0, tokens=1000,
                last_fired=[1000, 10, 996, 900, 1000, 20, 904, 903])
CASES = [
    dict(seed=1),
    dict(seed=2, squared=1, afa=0.5, mse="row"),
    dict(seed=3, consistent=1, bias=1, afa=0.25, k_aux=7),
    dict(seed=4, squared=1, consistent=1, bias=1, mse="fvu", auxk_detach=1),
    dict(seed=5, auxk=0, afa=2),
]
# u = x W_enc^T exactly: (5, 4, 3), (1, 1, 1), (1, 10, 2); expected (0, 4, 3), (0, 1, 1), (0, 10, 2).
WORKED = [
    dict(x=[[32, 44]], W_enc=[[0.5, -0.25], [0.125, 0], [-0.25, 0.25]], keeps=[1, 2]),
    dict(x=[[9, 12]], W_enc=[[0, 0]] * 3, b_enc=[[1, 1, 1]], bias=1, keeps=[1, 2]),
    dict(x=[[41, 54]], W_enc=[[2, -1.5], [20, -15], [4, -3]], keeps=[1, 2]),
]
ATOMS = [[1, 2], [3, 4], [5, 6]]


def random_model(case):
    rnd = Inputs(case["seed"])
    p = {"W_enc": rnd.matrix(8, 4), "b_enc": rnd.matrix(1, 8, -4, 4), "W_dec": rnd.matrix(8, 4),
         "b_dec": rnd.matrix(1, 4, -4, 4)}
    if not case["bias"]:
        p["b_enc"] = [[0] * 8]
    return p, rnd.matrix(4, 4)


def solve(case):
    case = dict(DEFAULTS, **case)
    if "keeps" in case:
        case.update(auxk=0, last_fired=[0] * 3)
        p = {"W_enc": case["W_enc"], "b_enc": case.get("b_enc", [[0] * 3]), "W_dec": ATOMS,
             "b_dec": [[0, 0]]}
    else:
        p, case["x"] = random_model(case)
    leaves = {k: numbers(m) for k, m in p.items()}
    z, xhat, loss, coef, dead = forward(leaves, case)
    assert sorted(j for _, j in z) == case["keeps"] if "keeps" in case else dead or not case["auxk"]
    grad(total(c * v for c, v in zip(coef, loss)))
    spec = "topafa:afa={afa},squared={squared},consistent={consistent},bias={bias},mse={mse}," \
           "auxk={auxk},k_aux={k_aux},dead={dead},auxk_detach={auxk_detach}"
    return {
        "spec": spec.format(**case), "x": case["x"], "tensors": p, "tokens": case["tokens"],
        "last_fired": case["last_fired"],
        "train": {"code": listing(z), "xhat": pairs(xhat), "loss": pairs([loss]),
                  "coef": [coef, coef], "grad": {k: grad_pairs(m) for k, m in leaves.items()}},
        "after": {}, "eval": {"code": listing(z)},
    }


def main():
    worked = sys.argv[1:] == ["worked"]
    B, d, n = (1, 2, 3) if worked else (4, 4, 8)
    write("scripts/golden/variant_topafa.py", B, d, n,
          [solve(case) for case in (WORKED if worked else CASES)])


main()
