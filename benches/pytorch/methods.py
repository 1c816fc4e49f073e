"""ERM, SAM and SAGM in PyTorch on the nets and mini-batches of `cargo bench --bench methods`.

    pip install torch torchvision          (the CPU's wheels do)
    python benches/pytorch/methods.py
    python benches/pytorch/methods.py --against target/benches/methods/methods.json

The loops are as the methods' own repositories write them: all domains' pictures become one batch in every step, SAM
(https://github.com/davda54/sam) climbs along the gradient and comes back to the kept weights, SAGM
(https://github.com/Wang-pengfei/SAGM) adds the gradient at the shifted point to that at the weights;
both loop over the parameters one by one and leave BatchNorm's statistics alone in the second pass.
The plain loop that is not joined is what one does that needs every domain's gradient: one forward and
backward each.
Written anew from the formulas

    SAM   G = grad L(w + rho g / |g|)
    SAGM  G = (g + grad L(w + rho g / |g| - alpha g)) / 2,   g = grad L(w).

Times are of runs in turn, the joined plain loop and the method, in one process; the ratio is taken pair by pair. With
`--against`, the crate's numbers stand beside them.
"""

import argparse
import json
import math
import statistics
import time
from pathlib import Path

import torch
import torchvision
from torch import nn

RHO, ALPHA, RATE = 0.05, 5e-4, 1e-6


def make_net(name):
    if name == "mlp":
        layers = [nn.Flatten(), nn.Linear(256, 256), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 2))
    made = {
        "resnet-18": torchvision.models.resnet18,
        # Without dropout and stochastic depth, as the crate's.
        "efficientnet-b0": lambda **k: torchvision.models.efficientnet_b0(
            dropout=0.0, stochastic_depth_prob=0.0, **k
        ),
    }
    return made[name](num_classes=2)


def make_domains(net, domains, pictures, size):
    shape = (1, 16, 16) if net == "mlp" else (3, size, size)
    labels = torch.arange(pictures) % 2
    return [(torch.randn(pictures, *shape), labels) for _ in range(domains)]


class Training:
    """A net, its optimizer and one step of a method."""

    def __init__(self, net, domains, method):
        torch.manual_seed(1)
        self.net = make_net(net).train()
        self.parameters = list(self.net.parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, lr=RATE)
        self.domains = domains
        self.step = getattr(self, method)

    def joined(self):
        return tuple(torch.cat(part) for part in zip(*self.domains))

    def loss(self, batch):
        pixels, labels = batch
        return nn.functional.cross_entropy(self.net(pixels), labels)

    def erm(self):
        self.optimizer.zero_grad()
        loss = self.loss(self.joined())
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def passes(self):
        self.optimizer.zero_grad()
        found = 0.0
        for batch in self.domains:
            loss = self.loss(batch) / len(self.domains)
            loss.backward()
            found += loss.item()
        self.optimizer.step()
        return found

    def norm(self):
        norms = [p.grad.norm(p=2) for p in self.parameters if p.grad is not None]
        return torch.stack(norms).norm(p=2)

    def second(self, batch):
        """The pass at the point, which BatchNorm's statistics see nothing of."""
        norms = [m for m in self.net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        kept = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 0.0
        loss = self.loss(batch)
        loss.backward()
        for norm, momentum in zip(norms, kept):
            norm.momentum = momentum
        return loss

    def sam(self):
        batch = self.joined()
        self.optimizer.zero_grad()
        self.loss(batch).backward()
        with torch.no_grad():
            scale = RHO / (self.norm() + 1e-12)
            kept = []
            for p in self.parameters:
                kept.append(p.data.clone())
                p.add_(p.grad * scale)
        self.optimizer.zero_grad()
        loss = self.second(batch)
        for p, old in zip(self.parameters, kept):
            p.data = old
        self.optimizer.step()
        return loss.item()

    def sagm(self):
        batch = self.joined()
        self.optimizer.zero_grad()
        self.loss(batch).backward()
        with torch.no_grad():
            scale = RHO / (self.norm() + 1e-12)
            gradients, moves = [], []
            for p in self.parameters:
                gradients.append(p.grad.clone())
                move = p.grad * scale - ALPHA * p.grad
                p.add_(move)
                moves.append(move)
        self.optimizer.zero_grad()
        loss = self.second(batch)
        with torch.no_grad():
            for p, gradient, move in zip(self.parameters, gradients, moves):
                p.grad.add_(gradient).mul_(0.5)
                p.sub_(move)
        self.optimizer.step()
        return loss.item()


# By the crate's names. Nothing here makes a report, so that the crate's rows are those without one.
METHODS = {
    "erm": "plain loop, joined",
    "passes": "plain loop",
    "sam": "SAM, joined, report off",
    "sagm": "SAGM, joined, report off",
}


def spread(numbers):
    low, median, high = statistics.quantiles(numbers, n=4, method="inclusive")
    return {"low": low, "median": median, "high": high}


CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def seconds(training, repeats, clock=time.perf_counter):
    began = clock()
    for _ in range(repeats):
        training.step()
    return (clock() - began) / repeats


def measure(net, domains, pictures, size, pairs, clock, threads):
    torch.set_num_threads(threads)
    batches = make_domains(net, domains, pictures, size)
    erm = Training(net, batches, "erm")
    repeats = max(1, math.ceil(0.05 / min(seconds(erm, 1) for _ in range(3))))
    for method, name in METHODS.items():
        training = Training(net, batches, method)
        seconds(training, 2)
        runs = [(seconds(erm, repeats, clock), seconds(training, repeats, clock)) for _ in range(pairs)]
        yield {
            "net": net,
            "method": name,
            "threads": threads,
            "domains": domains,
            "pictures": pictures,
            "seconds": spread([run[1] for run in runs]),
            "ratio": spread([run[1] / run[0] for run in runs]),
        }


def cell(found, decimals=2):
    low, median, high = (found[key] for key in ("low", "median", "high"))
    return f"{median:.{decimals}f} ({low:.{decimals}f}–{high:.{decimals}f})"


def beside(path):
    """The crate's rows, their ratios to burn's own joined loop."""
    rows = json.loads(Path(path).read_text())["methods"]
    key = lambda row: (row["net"], row["domains"], row["pictures"])
    joined = {key(row): row for row in rows if row["method"] == "plain loop, joined"}
    found = {}
    for row in rows:
        base = joined.get(key(row))
        if base:
            ratio = row["ratio"]["median"] / base["ratio"]["median"]
            found[(*key(row), row["method"])] = (row["seconds"]["median"], ratio)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--nets", default="mlp,resnet-18,efficientnet-b0")
    parser.add_argument("--domains", default="4")
    parser.add_argument("--pictures", type=int, default=32, help="in a step, of all domains together")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--threads", default=f"1,{torch.get_num_threads()}")
    parser.add_argument("--against", help="methods.json of `cargo bench --bench methods`")
    parser.add_argument("--output", help="where all numbers are written, as JSON")
    arguments = parser.parse_args()
    clock = CLOCKS[arguments.clock]
    ours = beside(arguments.against) if arguments.against else {}

    rows = []
    print(f"PyTorch {torch.__version__}\n")
    print("| net | K | threads | method | milliseconds | to the plain loop, joined | the crate's | its milliseconds |")
    print("|---|---|---|---|---|---|---|---|")
    for net in arguments.nets.split(","):
        for domains in map(int, arguments.domains.split(",")):
            pictures = max(1, arguments.pictures // domains)
            for threads in dict.fromkeys(map(int, arguments.threads.split(","))):
                setting = (net, domains, pictures, arguments.size, arguments.pairs, clock, threads)
                for row in measure(*setting):
                    rows.append(row)
                    time_, ratio = ours.get((net, domains, pictures, row["method"]), (None, None))
                    time_ = "–" if time_ is None else f"{1000 * time_:.1f}"
                    ratio = "–" if ratio is None else f"{ratio:.2f}"
                    here = {key: 1000 * value for key, value in row["seconds"].items()}
                    print(
                        f"| {net} | {domains} | {threads} | {row['method']} | {cell(here, 1)} "
                        f"| {cell(row['ratio'])} | {ratio} | {time_} |",
                        flush=True,
                    )
    if arguments.output:
        Path(arguments.output).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
