"""Writes what torchvision and timm answer with weights of a fixed formula:
backbones.json (the names and shapes of every state dict), backbones.safetensors (logits and feature
maps) and backbone.pth (a tiny checkpoint of torch.save), and a file with a name of 21 characters.

    pip install torch torchvision timm safetensors
    python tests/reference/backbones.py

The formula stands once more in tests/backbones.rs.
"""

import json
import pathlib

import numpy as np
import timm
import torch
import torchvision
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
CLASSES = 10
# Of the feature maps every so manieth number is kept.
KEPT = 7
# A number that no tensor of a state dict has.
PICTURES = 1_000_000


def uniform(stream, count):
    """From a hash of the index and the stream's number: numbers in [0, 1), the same everywhere."""
    x = np.arange(count, dtype=np.uint32) + np.uint32(stream * 0x9E3779B9 % 2**32)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    return x.astype(np.float64) / 2.0**32


def tensor(index, name, shape, gain):
    u = uniform(index, int(np.prod(shape)))
    if name.endswith("running_var"):
        values = 0.5 + u
    elif name.endswith("running_mean") or name.endswith("bias"):
        values = 0.4 * (u - 0.5)
    elif len(shape) == 1 or name.endswith("layer_scale"):
        values = 0.8 + 0.4 * u
    else:
        # Of variance gain / fan in.
        values = (u - 0.5) * np.sqrt(12.0 * gain / np.prod(shape[1:]))
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def filled(names, gain):
    return {name: tensor(index, name, shape, gain) for index, (name, shape) in enumerate(names)}


def shapes(net):
    return [
        (name, list(value.shape))
        for name, value in net.state_dict().items()
        if not name.endswith("num_batches_tracked")
    ]


def torchvision_map(net, x):
    if hasattr(net, "features"):
        return net.features(x)
    x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
    return net.layer4(net.layer3(net.layer2(net.layer1(x))))


def main():
    torch.set_num_threads(1)
    # Exact sums are nearer to any other order of summing than those of a vectorised one.
    torch.set_default_dtype(torch.float64)
    cases = {}
    answers = {}
    # The gains keep the activations of each net near 1, and the answers far from one another.
    for source, name, size, gain in [
        ("torchvision", "resnet18", 64, 1.0),
        ("torchvision", "resnet50", 64, 0.9),
        ("torchvision", "efficientnet_b0", 64, 2.25),
        ("torchvision", "efficientnet_b4", 64, 1.85),
        ("torchvision", "convnext_tiny", 64, 1.0),
        ("timm", "legacy_xception", 96, 1.0),
        ("timm", "efficientnet_b0", 65, 2.25),
        ("timm", "efficientnet_b4", 64, 1.85),
        ("timm", "convnext_tiny", 64, 1.0),
    ]:
        if source == "timm":
            net = timm.create_model(name, pretrained=False, num_classes=CLASSES)
            feature_map = net.forward_features
        else:
            net = torchvision.models.get_model(name, weights=None, num_classes=CLASSES)
            feature_map = lambda x: torchvision_map(net, x)
        names = shapes(net)
        net.load_state_dict(filled(names, gain), strict=False)
        net.eval()
        shape = (2, 3, size, size)
        pixels = 4.0 * (uniform(PICTURES, int(np.prod(shape))) - 0.5)
        pictures = torch.from_numpy(pixels.astype(np.float32).reshape(shape)).double()
        with torch.no_grad():
            logits, maps = net(pictures), feature_map(pictures)
        case = f"{source}/{name}"
        cases[case] = {"size": size, "gain": gain, "map": list(maps.shape), "tensors": names}
        answers[f"{case}/logits"] = logits.float()
        answers[f"{case}/map"] = maps.flatten()[::KEPT].float().clone()
        print(
            f"{case}: logits {logits.std():.3f}, between pictures "
            f"{(logits[0] - logits[1]).std():.3f}, map {maps.std():.3f}"
        )
    with open(HERE / "backbones.json", "w") as file:
        json.dump(cases, file, separators=(",", ":"))
    save_file(answers, HERE / "backbones.safetensors")
    tiny()


def tiny():
    """A residual net of two stages of 4 and 8 channels, as a training's checkpoint."""
    names = [("conv1.weight", [4, 3, 3, 3]), *norm("bn1", 4)]
    for stage, inputs, outputs in [(1, 4, 4), (2, 4, 8)]:
        block = f"layer{stage}.0"
        names.append((f"{block}.conv1.weight", [outputs, inputs, 3, 3]))
        names += norm(f"{block}.bn1", outputs)
        names.append((f"{block}.conv2.weight", [outputs, outputs, 3, 3]))
        names += norm(f"{block}.bn2", outputs)
    names.append(("layer2.0.downsample.0.weight", [8, 4, 1, 1]))
    names += norm("layer2.0.downsample.1", 8)
    names += [("fc.weight", [2, 8]), ("fc.bias", [2])]
    weights = {f"module.{name}": value for name, value in filled(names, 1.0).items()}
    weights["module.bn1.num_batches_tracked"] = torch.tensor(3)
    momentum = {0: {"exp_avg": torch.zeros(4, 3, 3, 3)}}
    checkpoint = {"epoch": 3, "state_dict": weights, "optimizer": {"state": momentum}}
    torch.save(checkpoint, HERE / "backbone.pth")
    # The name's 21 characters are in the archive, and some readers stumble over them.
    torch.save({"a": torch.ones(1)}, HERE / "backbone-21-character.pth")


def norm(name, channels):
    parts = ["weight", "bias", "running_mean", "running_var"]
    return [(f"{name}.{part}", [channels]) for part in parts]


if __name__ == "__main__":
    main()
