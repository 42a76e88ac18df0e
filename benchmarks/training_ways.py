"""The ways that benchmarks/training.py times, each as a process that waits for its turn before every part of its work.

    python -m benchmarks.training_ways WAY FOLDER EPOCHS

FOLDER holds photos/{train,test}/<class>/*.jpg and weights.pth, a state dict of torchvision's MobileNetV2. A line on
standard input starts the next part; its name and the processor seconds that it took, children's among them, come back
as a line of JSON, and after the last one the accuracy on the test photos.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

BATCH = 32
SIZE, RESIZE = 224, 256
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LR, MOMENTUM = 0.01, 0.9
Parts = Iterator[tuple[str, float | None]]
"""Name of a part and, of the last, the accuracy."""


def naive(folder: Path, epochs: int) -> Parts:
    """As a first script does it: Pillow and torchvision's transforms for every image in every epoch, the frozen body in
    every step, and SGD for the head."""
    import torch
    from PIL import Image
    from torchvision import transforms

    train = transforms.Compose(
        [
            transforms.RandomResizedCrop(SIZE),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    test = transforms.Compose(
        [
            transforms.Resize(RESIZE),
            transforms.CenterCrop(SIZE),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )

    def loaded(path: Path, transform) -> torch.Tensor:
        with Image.open(path) as image:
            return transform(image.convert("RGB"))

    yield from _trained(folder, epochs, lambda path: loaded(path, train), lambda path: loaded(path, test))


def torchvision_v2(folder: Path, epochs: int) -> Parts:
    """As torchvision's documentation has it: its own JPEG decoder and v2 transforms on uint8 tensors, in a DataLoader;
    body and head as above."""
    import torch
    from torchvision.io import ImageReadMode, decode_image
    from torchvision.transforms import v2

    after = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    train = v2.Compose([v2.RandomResizedCrop(SIZE, antialias=True), v2.RandomHorizontalFlip(), *after])
    test = v2.Compose([v2.Resize(RESIZE, antialias=True), v2.CenterCrop(SIZE), *after])

    def loaded(path: Path) -> torch.Tensor:
        return decode_image(str(path), ImageReadMode.RGB)

    yield from _trained(folder, epochs, lambda path: train(loaded(path)), lambda path: test(loaded(path)))


def _trained(folder: Path, epochs: int, train, test) -> Parts:
    import torch
    from torch import nn
    from torch.utils.data import DataLoader
    from torchvision.models import mobilenet_v2

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = mobilenet_v2()
    model.load_state_dict(torch.load(folder / "weights.pth", weights_only=True))
    parts = {part: _photos(folder / "photos" / part) for part in ("train", "test")}
    classes = max(label for _, label in parts["train"]) + 1
    head = nn.Linear(model.last_channel, classes)
    model.classifier = nn.Identity()
    model.eval()
    optimizer = torch.optim.SGD(head.parameters(), LR, MOMENTUM)

    def batches(part: str, transform, shuffle: bool) -> DataLoader:
        return DataLoader(parts[part], BATCH, shuffle=shuffle, collate_fn=lambda rows: _stacked(rows, transform))

    yield "start", None
    for epoch in range(epochs):
        for image, label in batches("train", train, True):
            with torch.no_grad():
                features = model(image)
            loss = nn.functional.cross_entropy(head(features), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        yield f"epoch {epoch + 1}", None
    with torch.no_grad():
        right = sum(int((head(model(image)).argmax(1) == label).sum()) for image, label in batches("test", test, False))
    yield "test", right / len(parts["test"])


def _stacked(rows: list[tuple[Path, int]], transform):
    import torch

    return torch.stack([transform(path) for path, _ in rows]), torch.tensor([label for _, label in rows])


def _photos(folder: Path) -> list[tuple[Path, int]]:
    classes = sorted(path.name for path in folder.iterdir())
    return [(path, number) for number, name in enumerate(classes) for path in sorted((folder / name).iterdir())]


def fastai(folder: Path, epochs: int) -> Parts:
    """fastai's defaults for a frozen body, those of its `vision_learner`: its augmentation and head, Adam with one
    cycle, and batch-norm trained along."""
    import torch
    from fastai.vision.all import ImageDataLoaders, Learner, Normalize, Resize, accuracy, aug_transforms, create_head
    from fastai.vision.learner import default_split
    from torchvision.models import mobilenet_v2

    torch.set_num_threads(1)
    torch.manual_seed(0)
    loaders = ImageDataLoaders.from_folder(
        folder / "photos",
        train="train",
        valid="test",
        item_tfms=Resize(RESIZE),
        batch_tfms=[*aug_transforms(size=SIZE), Normalize.from_stats(MEAN, STD)],
        bs=BATCH,
        num_workers=0,
        device=torch.device("cpu"),
    )
    network = mobilenet_v2()
    network.load_state_dict(torch.load(folder / "weights.pth", weights_only=True))
    # What vision_learner makes of a network that it has no cut for.
    model = torch.nn.Sequential(torch.nn.Sequential(network.features), create_head(network.last_channel, loaders.c))
    learner = Learner(loaders, model, splitter=default_split, metrics=accuracy)
    learner.freeze()
    yield "start", None
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(epochs)
        yield f"epochs 1 to {epochs}, each with test", float(learner.recorder.values[-1][-1])


def graft(folder: Path, epochs: int) -> Parts:
    """The stages of the pipeline, in one process: photos to packed pixels, weights, features, and the linear probe."""
    del epochs  # the head is solved for
    os.chdir(folder)
    from components.stages.embed import embed
    from components.stages.prepare import prepare
    from components.stages.pretrain import pretrain
    from components.stages.train import train

    yield "start", None
    prepare()
    yield "prepare", None
    pretrain()
    embed()
    yield "embed, with the export", None
    train("linear_probe")
    from components import tensorfile

    answers = tensorfile.load(Path("models/linear_probe/predictions.safetensors"))
    right = answers["test/label/logits"][0].argmax(1) == answers["test/label/labels"]
    yield "linear_probe", float(right.mean())


WAYS = {"naive": naive, "torchvision": torchvision_v2, "fastai": fastai, "graft": graft}


def processor_seconds() -> float:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def main(way: str, folder: str, epochs: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a stage says is no answer
    before = 0.0  # what starting the interpreter took is the first part's
    sys.stdin.readline()
    for name, accuracy in WAYS[way](Path(folder), int(epochs)):
        now = processor_seconds()
        print(json.dumps({"part": name, "seconds": now - before, "accuracy": accuracy}), file=answers, flush=True)
        before = now
        sys.stdin.readline()


if __name__ == "__main__":
    main(*sys.argv[1:])
