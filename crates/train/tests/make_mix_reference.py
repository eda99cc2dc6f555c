"""What torchvision's MixUp and CutMix make of a batch made by a formula, for the tests of src/mix/.
usage: python crates/train/tests/make_mix_reference.py > crates/train/tests/mix_reference.json   (torchvision 0.29.2)"""
import json
import torch, torchvision
from torchvision.transforms import v2

SHAPE, LABELS, CLASSES = (3, 2, 5, 7), [0, 2, 1], 3
x = ((torch.arange(3 * 2 * 5 * 7) * 37 % 101) / 101).reshape(SHAPE)
y = torch.tensor(LABELS)


def run(transform):
    """Makes one mix, and keeps the parameters that were drawn."""
    drawn, make = {}, transform.make_params
    def make_params(inputs):
        drawn.update(make(inputs))
        return drawn
    transform.make_params = make_params
    inputs, targets = transform(x.clone(), y)
    case = dict(inputs=inputs.flatten().tolist(), targets=targets.flatten().tolist())
    if "box" in drawn: return case | dict(rectangle=list(drawn["box"]), **{"lambda": drawn["lam_adjusted"]})
    return case | {"lambda": drawn["lam"]}


torch.manual_seed(2)
mixup = run(v2.MixUp(alpha=0.4, num_classes=CLASSES))
cutmix = [run(v2.CutMix(alpha=1.0, num_classes=CLASSES)) for _ in range(3)]
print(json.dumps(dict(torchvision=torchvision.__version__, shape=SHAPE, labels=LABELS, n_classes=CLASSES, mixup=mixup, cutmix=cutmix)))
