"""Reference trajectories of LookSAM with norms over all parameters together.

    pip install torch safetensors pytorch_optimizer==4.1.0
    python tests/reference/look_sam.py

Net, weights and batches are those of reference_sam_f32.safetensors. LookSAM (Liu et al., CVPR 2022, arXiv
2203.02714) is run twice, in float64:
  * pytorch_optimizer's, whose norms are per tensor, on the net with all its parameters in ONE tensor: there
    the norm of the tensor is that of all parameters;
  * from the formulas: g_v = g_s - <g_s, g/|g|> g/|g| in every k-th step, g + alpha |g|/|g_v| g_v between them.
They have to agree. The second, in float32, is written to reference_look_sam_f32.safetensors:
  init/*, batch/*                as there
  <base>/<run>/loss [steps]      the loss before the step, over the rows of all domains
  <base>/<run>/step<k>/{w1,...}  the parameters after step k
"""
import pathlib

import torch
from pytorch_optimizer import LookSAM
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy

HERE = pathlib.Path(__file__).parent
NAMES = ["w1", "b1", "w2", "b2", "w3", "b3"]
BASES = {
    "sgd": (torch.optim.SGD, dict(lr=0.1)),
    "sgdm": (torch.optim.SGD, dict(lr=0.1, momentum=0.9, weight_decay=5e-4)),
    "adam": (torch.optim.Adam, dict(lr=1e-2, eps=1e-8, weight_decay=5e-4)),
    "adamw": (torch.optim.AdamW, dict(lr=1e-2, eps=1e-8, weight_decay=1e-2)),
}
RUNS = {
    "looksam_k3": dict(rho=0.1, k=3, alpha=0.7),
    "looksam_k2_rho0.5": dict(rho=0.5, k=2, alpha=0.3),
    "looksam_k4_adaptive": dict(rho=0.5, k=4, alpha=0.7, adaptive=True),
}
torch.set_num_threads(1)
held = load_file(HERE / "reference_sam_f32.safetensors")
SHAPES = {name: held[f"init/{name}"].shape for name in NAMES}


def parts(flat):
    pieces = flat.split([SHAPES[name].numel() for name in NAMES])
    return {name: piece.reshape(SHAPES[name]) for name, piece in zip(NAMES, pieces)}


def loss_of(flat, step):
    p = parts(flat)
    x = held["batch/x"][step].flatten(0, 1).to(flat.dtype)
    for layer in "12":
        x = torch.tanh(x @ p["w" + layer].T + p["b" + layer])
    return cross_entropy(x @ p["w3"].T + p["b3"], held["batch/y"][step].flatten())


def start(dtype):
    flat = torch.cat([held[f"init/{name}"].flatten() for name in NAMES])
    return torch.nn.Parameter(flat.to(dtype))


def by_pytorch_optimizer(base, run, dtype):
    flat = start(dtype)
    kind, settings = BASES[base]
    opt = LookSAM([flat], kind, **RUNS[run], **settings)
    for step in range(len(held["batch/x"])):
        loss = loss_of(flat, step)

        def closure():
            opt.zero_grad()
            loss_of(flat, step).backward()

        closure()
        opt.step(closure)
        yield loss.detach(), flat.detach().clone()


def by_formula(base, run, dtype):
    flat = start(dtype)
    kind, settings = BASES[base]
    opt = kind([flat], **settings)
    run = RUNS[run]
    for step in range(len(held["batch/x"])):
        loss = loss_of(flat, step)
        (g,) = torch.autograd.grad(loss, flat)
        if step % run["k"] == 0:
            scale = flat.detach().abs() if run.get("adaptive") else torch.ones_like(g)
            point = flat.detach() + run["rho"] * scale**2 * g / (scale * g).norm()
            point.requires_grad_()
            (given,) = torch.autograd.grad(loss_of(point, step), point)
            unit = g / g.norm()
            g_v = given - (given @ unit) * unit
        else:
            given = g + run["alpha"] * g.norm() / g_v.norm() * g_v
        flat.grad = given
        opt.step()
        yield loss.detach(), flat.detach().clone()


def main():
    out = {name: value for name, value in held.items() if name.startswith(("init/", "batch/"))}
    apart = rounding = 0.0
    for base in BASES:
        for run in RUNS:
            trajectory = list(by_formula(base, run, torch.float32))
            exact = list(by_formula(base, run, torch.float64))
            other = by_pytorch_optimizer(base, run, torch.float64)
            for (_, a), (_, b), (_, c) in zip(exact, other, trajectory, strict=True):
                apart = max(apart, float((a - b).abs().max()))
                rounding = max(rounding, float((a - c).abs().max()))
            out[f"{base}/{run}/loss"] = torch.stack([loss for loss, _ in trajectory])
            for step, (_, flat) in enumerate(trajectory):
                for name, value in parts(flat).items():
                    out[f"{base}/{run}/step{step}/{name}"] = value.contiguous()
    print(f"the two of float64 are {apart:.1e} apart, float32 and float64 {rounding:.1e}")
    assert apart < 1e-6 and rounding < 1e-5
    out = {name: value.clone() for name, value in out.items()}
    save_file(out, HERE / "reference_look_sam_f32.safetensors")


if __name__ == "__main__":
    main()
