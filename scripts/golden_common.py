"""What the golden-vector scripts share: pictures, thin networks, and the arithmetic of both frameworks
that are written out from their formulas (mmdetection and detectron2; torchvision is run as it is).

Networks here are functions on a dictionary of weights under mmdetection's names; nothing is shared with the C code.
"""
import hashlib
import math

import numpy as np
import torch
import torch.nn.functional as F
import torchvision

DELTA_CLAMP = math.log(1000.0 / 16)
# The third anchor's boxes are thin and tall: their dw and dh reach the lower and the upper clamp.
RPN_LOGIT_MEAN = [0.0, 0.0, -2.0]
RPN_DELTA_SPREAD = 0.4
RPN_DELTA_MEAN = [0.0] * 8 + [0.0, 0.0, -4.2, 4.2]


# ------------------------------------------------------------------------------------------------ pictures

def picture(width, height, seed):
    """RGB u8 [height][width][3]: soft blobs and hard discs on a gradient, with noise, so that a network has answers."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    image = np.stack([60 + 80 * x / width, 90 + 60 * y / height, 120 - 50 * x / width], axis=-1)
    for _ in range(14):
        cx, cy = rng.uniform(0, width), rng.uniform(0, height)
        rx, ry = rng.uniform(0.04, 0.25, 2) * min(width, height) + 3
        far = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2
        weight = np.exp(-far * 2) if rng.random() < 0.5 else (far < 1).astype(np.float64)
        image += weight[..., None] * (rng.uniform(0, 255, 3) - image)
    image += rng.normal(0, 6, image.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


# ------------------------------------------------------------------------------------------------ arrays

def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def array(tensor):
    """float32 or int32 numpy array of a tensor."""
    tensor = tensor.detach().contiguous()
    return tensor.numpy().astype(np.float32 if tensor.is_floating_point() else np.int32)


def nhwc(tensor):
    return array(tensor.permute(0, 2, 3, 1))


# -------------------------------------------------------------------------------------------- thin networks

class Thin:
    """Shape of a thin network: a ResNet of a quarter to a sixteenth of the usual widths."""

    def __init__(self, planes=8, blocks=(1, 1, 1, 1), groups=1, style="pytorch", fpn=16, fc=32, classes=5, mask=True,
                 eps=1e-5):
        self.planes, self.blocks, self.groups, self.style = planes, blocks, groups, style
        self.fpn, self.fc, self.classes, self.mask, self.eps = fpn, fc, classes, mask, eps

    def width(self, stage):
        """Channels of a bottleneck's 3x3."""
        planes = self.planes << stage
        return planes if self.groups == 1 else planes * 2


def narrow_channels(gamma, variance):
    """Gives every eighth channel of a norm a variance next to which epsilon counts."""
    variance[::8] = 2e-5
    gamma[::8] *= 4e-3


def thin_weights(thin, seed):
    """Random weights under mmdetection's names, batch norm with statistics of its own."""
    g = torch.Generator().manual_seed(seed)
    w = {}

    def conv(name, out, inputs, kernel, bias=True):
        gain = math.sqrt(2.0 / (inputs * kernel * kernel))
        w[name + ".weight"] = torch.randn(out, inputs, kernel, kernel, generator=g) * gain
        if bias:
            w[name + ".bias"] = torch.randn(out, generator=g) * 0.1

    def norm(name, channels):
        w[name + ".weight"] = torch.rand(channels, generator=g) * 0.8 + 0.4
        w[name + ".bias"] = torch.randn(channels, generator=g) * 0.2
        w[name + ".running_mean"] = torch.randn(channels, generator=g) * 0.3
        w[name + ".running_var"] = torch.rand(channels, generator=g) * 1.5 + 0.3
        w[name + ".num_batches_tracked"] = torch.tensor(1000)
        narrow_channels(w[name + ".weight"], w[name + ".running_var"])

    def linear(name, out, inputs):
        w[name + ".weight"] = torch.randn(out, inputs, generator=g) * math.sqrt(2.0 / inputs)
        w[name + ".bias"] = torch.randn(out, generator=g) * 0.1

    conv("backbone.conv1", thin.planes, 3, 7, bias=False)
    if thin.style == "caffe":  # these pixels are not divided by a standard deviation
        w["backbone.conv1.weight"] /= 57.0
    norm("backbone.bn1", thin.planes)
    channels = thin.planes
    for stage in range(4):
        planes, width = thin.planes << stage, thin.width(stage)
        for block in range(thin.blocks[stage]):
            name = f"backbone.layer{stage + 1}.{block}"
            for i, (out, inputs, kernel) in enumerate(
                    [(width, channels, 1), (width, width // thin.groups, 3), (4 * planes, width, 1)], 1):
                conv(f"{name}.conv{i}", out, inputs, kernel, bias=False)
                norm(f"{name}.bn{i}", out)
            if block == 0:
                conv(f"{name}.downsample.0", 4 * planes, channels, 1, bias=False)
                norm(f"{name}.downsample.1", 4 * planes)
            channels = 4 * planes
    for level in range(4):
        conv(f"neck.lateral_convs.{level}.conv", thin.fpn, thin.planes * 4 << level, 1)
        conv(f"neck.fpn_convs.{level}.conv", thin.fpn, thin.fpn, 3)
    conv("rpn_head.rpn_conv", thin.fpn, thin.fpn, 3)
    conv("rpn_head.rpn_cls", 3, thin.fpn, 1)
    conv("rpn_head.rpn_reg", 12, thin.fpn, 1)
    linear("roi_head.bbox_head.shared_fcs.0", thin.fc, thin.fpn * 49)
    linear("roi_head.bbox_head.shared_fcs.1", thin.fc, thin.fc)
    linear("roi_head.bbox_head.fc_cls", thin.classes + 1, thin.fc)
    linear("roi_head.bbox_head.fc_reg", 4 * thin.classes, thin.fc)
    if thin.mask:
        for i in range(4):
            conv(f"roi_head.mask_head.convs.{i}.conv", thin.fpn, thin.fpn, 3)
        conv("roi_head.mask_head.upsample", thin.fpn, thin.fpn, 2)
        conv("roi_head.mask_head.conv_logits", thin.classes, thin.fpn, 1)
    return w


def round_half(weights):
    """The weights as they read back from a half-precision file."""
    return {k: v.half().float() if v.is_floating_point() else v for k, v in weights.items()}


def conv2d(w, name, x, stride=1, padding=0, groups=1):
    return F.conv2d(x, w[name + ".weight"], w.get(name + ".bias"), stride, padding, 1, groups)


def conv_norm(w, thin, conv, norm, x, **options):
    y = conv2d(w, conv, x, **options)
    return F.batch_norm(y, w[norm + ".running_mean"], w[norm + ".running_var"], w[norm + ".weight"], w[norm + ".bias"],
                        training=False, eps=thin.eps)


def backbone(w, thin, x):
    """C2..C5 of normalised, padded pixels [N,3,H,W]."""
    x = F.relu(conv_norm(w, thin, "backbone.conv1", "backbone.bn1", x, stride=2, padding=3))
    x = F.max_pool2d(x, 3, 2, 1)
    outputs = []
    for stage in range(4):
        for block in range(thin.blocks[stage]):
            name = f"backbone.layer{stage + 1}.{block}"
            stride = 2 if stage > 0 and block == 0 else 1
            first, second = (1, stride) if thin.style == "pytorch" else (stride, 1)
            y = F.relu(conv_norm(w, thin, name + ".conv1", name + ".bn1", x, stride=first))
            y = F.relu(conv_norm(w, thin, name + ".conv2", name + ".bn2", y, stride=second, padding=1,
                                 groups=thin.groups))
            y = conv_norm(w, thin, name + ".conv3", name + ".bn3", y)
            if block == 0:
                x = conv_norm(w, thin, name + ".downsample.0", name + ".downsample.1", x, stride=stride)
            x = F.relu(x + y)
        outputs.append(x)
    return outputs


def neck(w, features):
    """P2..P6 of C2..C5."""
    laterals = [conv2d(w, f"neck.lateral_convs.{i}.conv", c) for i, c in enumerate(features)]
    for i in (3, 2, 1):
        laterals[i - 1] = laterals[i - 1] + F.interpolate(laterals[i], size=laterals[i - 1].shape[2:], mode="nearest")
    levels = [conv2d(w, f"neck.fpn_convs.{i}.conv", x, padding=1) for i, x in enumerate(laterals)]
    return levels + [F.max_pool2d(levels[3], 1, 2)]


def rpn_head(w, level):
    """Logits [N,3,H,W] and deltas [N,12,H,W]."""
    t = F.relu(conv2d(w, "rpn_head.rpn_conv", level, padding=1))
    return conv2d(w, "rpn_head.rpn_cls", t), conv2d(w, "rpn_head.rpn_reg", t)


def box_head(w, features):
    """Class logits [R,K+1] (background last) and deltas [R,4K] of RoI features [R,C,7,7]."""
    x = features.flatten(1)
    for i in range(2):
        name = f"roi_head.bbox_head.shared_fcs.{i}"
        x = F.relu(F.linear(x, w[name + ".weight"], w[name + ".bias"]))
    return tuple(F.linear(x, w[name + ".weight"], w[name + ".bias"])
                 for name in ("roi_head.bbox_head.fc_cls", "roi_head.bbox_head.fc_reg"))


def mask_head(w, features):
    """Mask logits [R,K,28,28] of RoI features [R,C,14,14]."""
    x = features
    for i in range(4):
        x = F.relu(conv2d(w, f"roi_head.mask_head.convs.{i}.conv", x, padding=1))
    name = "roi_head.mask_head.upsample"
    x = F.relu(F.conv_transpose2d(x, w[name + ".weight"], w[name + ".bias"], stride=2))
    return conv2d(w, "roi_head.mask_head.conv_logits", x)


# ------------------------------------------------------------------------------- boxes, as both frameworks do

def flat(logits, deltas):
    """Logits [n] and deltas [n,4] of one level in anchor order (y, x, anchor)."""
    _, a, h, width = logits.shape
    return (logits[0].permute(1, 2, 0).reshape(-1),
            deltas[0].view(a, 4, h, width).permute(2, 3, 0, 1).reshape(-1, 4))


def grid_anchors(base, stride, height, width):
    """[height*width*3, 4]: the base anchors moved to every cell's top-left corner."""
    ys, xs = torch.meshgrid(torch.arange(height) * stride, torch.arange(width) * stride, indexing="ij")
    shifts = torch.stack([xs, ys, xs, ys], dim=-1).reshape(-1, 1, 4).float()
    return (shifts + base[None]).reshape(-1, 4)


def clip(boxes, width, height):
    x = boxes[..., 0::2].clamp(0, width)
    y = boxes[..., 1::2].clamp(0, height)
    return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], dim=-1)


def iou_parts(boxes):
    """Intersection and union of every pair, float32."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    low = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    inter = (high - low).clamp(min=0).prod(-1)
    return inter, area[:, None] + area[None] - inter


def roi_features(levels, boxes, level_of, bins):
    """RoIAlign, aligned and adaptive, in RoI order."""
    out = torch.zeros(len(boxes), levels[0].shape[1], bins, bins)
    for i in range(4):
        mine = torch.nonzero(level_of == i).flatten()
        if len(mine):
            rois = torch.cat([torch.zeros(len(mine), 1), boxes[mine]], dim=1)
            out[mine] = torchvision.ops.roi_align(levels[i], rois, bins, 1.0 / (4 << i), 0, True)
    return out


def paste_grid(mask, box, width, height, threshold=0.5):
    """Binary [height][width] of one soft mask [28,28] by sampling the mask at every pixel centre."""
    x1, y1, x2, y2 = box
    gx = (torch.arange(width, dtype=torch.float32) + 0.5 - x1) / (x2 - x1) * 2 - 1
    gy = (torch.arange(height, dtype=torch.float32) + 0.5 - y1) / (y2 - y1) * 2 - 1
    grid = torch.stack([gx[None].expand(height, width), gy[:, None].expand(height, width)], dim=-1)[None]
    return (F.grid_sample(mask[None, None], grid, align_corners=False)[0, 0] >= threshold).numpy()


def calibrate(w, name, output, spread, mean=0.0):
    """Rescales a last layer (output channels in dim 1 of `output`) so that each channel has the wanted mean and the
    outputs spread by `spread`: random weights alone give scores that crowd together."""
    dims = tuple(i for i in range(output.dim()) if i != 1)
    centre = output.mean(dim=dims)
    shape = [1, -1] + [1] * (output.dim() - 2)
    factor = spread / (output - centre.view(shape)).std()
    w[name + ".bias"] = torch.as_tensor(mean) - factor * (centre - w[name + ".bias"])
    w[name + ".weight"] = w[name + ".weight"] * factor


def calibrate_thin(w, thin, run):
    """Spreads the outputs of every head; run(w) gives the values by name."""
    v = run(w)
    rows = torch.cat([torch.from_numpy(v[f"rpn_pred{i}"]).flatten(0, 2) for i in range(2, 6)])
    calibrate(w, "rpn_head.rpn_cls", rows[:, :3], 2.0, RPN_LOGIT_MEAN)
    calibrate(w, "rpn_head.rpn_reg", rows[:, 3:], RPN_DELTA_SPREAD, RPN_DELTA_MEAN)
    rows = torch.from_numpy(run(w)["box_pred"])
    mean = torch.zeros(thin.classes + 1)
    mean[-1] = 1.5
    calibrate(w, "roi_head.bbox_head.fc_cls", rows[:, :thin.classes + 1], 1.3, mean)
    calibrate(w, "roi_head.bbox_head.fc_reg", rows[:, thin.classes + 1:], 0.8)
    if thin.mask:
        pooled = torch.from_numpy(run(w)["mask_features"]).permute(0, 3, 1, 2)
        calibrate(w, "roi_head.mask_head.conv_logits", mask_head(w, pooled), 2.0)
