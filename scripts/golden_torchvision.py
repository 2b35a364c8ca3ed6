"""torchvision's own Faster and Mask R-CNN, run whole on thin networks; intermediate values are caught on the way."""
import math

import numpy as np
import torch
import torchvision
from torch import nn
from torchvision.models import resnet
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import (
    FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead, _default_anchorgen)
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead

import golden_common as gc


class ThinResNet(resnet.ResNet):
    """torchvision's ResNet with all widths divided."""

    def __init__(self, divide, **options):
        self.divide = divide
        super().__init__(**options)

    def _make_layer(self, block, planes, blocks, **options):
        if planes == 64:  # the stem has just been made, at full width
            self.inplanes //= self.divide
            self.conv1 = nn.Conv2d(3, self.inplanes, 7, 2, 3, bias=False)
            self.bn1 = self._norm_layer(self.inplanes)
        return super()._make_layer(block, planes // self.divide, blocks, **options)


def build(kind, config):
    """kind: v1, v2 (as *_v2 models are put together) or faster (basic blocks, frozen norms, no masks)."""
    fpn, fc, classes = 16, 32, config["classes"] + 1
    norm = torchvision.ops.misc.FrozenBatchNorm2d if kind == "faster" else nn.BatchNorm2d
    if kind == "faster":
        body = ThinResNet(8, block=resnet.BasicBlock, layers=[2, 1, 1, 1], norm_layer=lambda c: norm(c, eps=0.0))
    else:
        body = ThinResNet(16, block=resnet.Bottleneck, layers=[2, 1, 1, 1] if kind == "v1" else [1, 1, 1, 1])
    v2 = nn.BatchNorm2d if kind == "v2" else None
    first = body.inplanes // 8
    backbone = BackboneWithFPN(body, {f"layer{k + 1}": str(k) for k in range(4)}, [first << k for k in range(4)], fpn,
                               norm_layer=v2)
    options = {
        "min_size": config["short_side"], "max_size": config["long_side"],
        "rpn_anchor_generator": _default_anchorgen(),
        "rpn_head": RPNHead(fpn, 3, conv_depth=2 if v2 else 1),
        "rpn_pre_nms_top_n_test": config["rpn_pre_nms"], "rpn_post_nms_top_n_test": config["rpn_post_nms"],
        "box_detections_per_img": config["max_detections"],
        "box_head": FastRCNNConvFCHead((fpn, 7, 7), [fpn] * 4, [fc], norm_layer=v2) if v2
        else TwoMLPHead(fpn * 49, fc),
        "box_predictor": FastRCNNPredictor(fc, classes),
    }
    if kind == "faster":
        return FasterRCNN(backbone, **options).eval()
    return MaskRCNN(backbone, mask_head=MaskRCNNHeads(fpn, [fpn] * 4, 1, norm_layer=v2),
                    mask_predictor=MaskRCNNPredictor(fpn, fpn, classes), **options).eval()


def randomise(model, seed):
    """Weights that keep activations in range, and norms with statistics of their own."""
    g = torch.Generator().manual_seed(seed)
    state = model.state_dict()
    for name, value in state.items():
        if name.endswith("running_mean"):
            value.copy_(torch.randn(value.shape, generator=g) * 0.3)
        elif name.endswith("running_var"):
            value.copy_(torch.rand(value.shape, generator=g) * 1.5 + 0.3)
        elif value.dim() == 1 and name.endswith("weight"):
            value.copy_(torch.rand(value.shape, generator=g) * 0.8 + 0.4)
        elif name.endswith("bias"):
            value.copy_(torch.randn(value.shape, generator=g) * 0.1)
        elif value.dim() >= 2:
            fan = value[0].numel() if "conv5_mask" not in name else value.shape[0]
            value.copy_(torch.randn(value.shape, generator=g) * math.sqrt(2.0 / fan))
    for name, value in state.items():
        if name.endswith("running_var"):
            gc.narrow_channels(state[name.replace("running_var", "weight")], value)
    model.load_state_dict(state)


def run(model, rgb):
    """Every value of the contract by name, and the binary masks of the whole image."""
    v, hooks = {}, []

    def hook(module, name, take):
        hooks.append(module.register_forward_hook(lambda m, i, o: v.__setitem__(name, take(i, o))))

    heads = model.roi_heads
    hook(model.transform, "images", lambda i, o: o[0])
    hook(model.backbone.body, "body", lambda i, o: list(o.values()))
    hook(model.backbone, "levels", lambda i, o: list(o.values()))
    hook(model.rpn.head, "rpn", lambda i, o: [torch.cat(pair, dim=1) for pair in zip(*o)])
    hook(heads.box_roi_pool, "box_pool", lambda i, o: o)
    hook(heads.box_predictor, "box_pred", lambda i, o: torch.cat(o, dim=1))
    hook(heads, "detections", lambda i, o: {k: t.clone() for k, t in o[0][0].items()})
    if heads.has_mask():
        hook(heads.mask_roi_pool, "mask_pool", lambda i, o: o)
    calls, small, top = [], [], []
    ops = torchvision.ops.boxes
    nms, remove, top_n = ops.batched_nms, ops.remove_small_boxes, model.rpn._get_top_n_idx

    def spy_nms(boxes, scores, groups, threshold):
        keep = nms(boxes, scores, groups, threshold)
        calls.append((boxes, scores, groups, keep))
        return keep

    def spy_remove(boxes, min_size):
        small.append(remove(boxes, min_size))
        return small[-1]

    def spy_top(objectness, counts):
        top.append(objectness[0, top_n(objectness, counts)[0]])
        return top_n(objectness, counts)

    ops.batched_nms, ops.remove_small_boxes, model.rpn._get_top_n_idx = spy_nms, spy_remove, spy_top
    try:
        with torch.no_grad():
            result = model([torch.from_numpy(rgb).permute(2, 0, 1).float() / 255])[0]
    finally:
        ops.batched_nms, ops.remove_small_boxes, model.rpn._get_top_n_idx = nms, remove, top_n
        for handle in hooks:
            handle.remove()
    return values(model, v, calls, top[0][small[0]], result)


def values(model, seen, calls, rank, result):
    v = {"image": gc.nhwc(seen["images"].tensors)}
    for i in range(4):
        v[f"c{i + 2}"] = gc.nhwc(seen["body"][i])
    for i in range(5):
        v[f"p{i + 2}"] = gc.nhwc(seen["levels"][i])
        v[f"rpn_pred{i + 2}"] = gc.nhwc(seen["rpn"][i])
    boxes, _, groups, keep = calls[0]
    keep = keep[:model.rpn.post_nms_top_n()]
    v["rpn_boxes"], v["rpn_scores"], v["rpn_groups"] = gc.array(boxes), gc.array(rank), gc.array(groups)
    v["proposals"], v["proposal_scores"] = gc.array(boxes[keep]), gc.array(rank[keep])
    v["proposal_groups"] = gc.array(groups[keep])
    v["box_features"], v["box_pred"] = gc.nhwc(seen["box_pool"]), gc.array(seen["box_pred"])
    boxes, scores, labels, keep = calls[1]
    keep = keep[:model.roi_heads.detections_per_img]
    v["cand_boxes"], v["cand_scores"], v["cand_labels"] = gc.array(boxes), gc.array(scores), gc.array(labels - 1)
    v["nms_boxes"], v["nms_scores"] = gc.array(boxes[keep]), gc.array(scores[keep])
    v["nms_labels"] = gc.array(labels[keep] - 1)
    v["det_boxes"], v["det_scores"] = gc.array(result["boxes"]), gc.array(result["scores"])
    v["det_labels"] = gc.array(result["labels"] - 1)
    v["mask_rois"] = gc.array(seen["detections"]["boxes"])
    if not model.roi_heads.has_mask():
        return v, []
    v["mask_features"] = gc.nhwc(seen["mask_pool"])
    v["masks"] = gc.array(seen["detections"]["masks"][:, 0])
    return v, [mask[0].numpy() > 0.5 for mask in result["masks"]]


def calibrate(model, rgb, classes):
    """Spreads the outputs of every head, as calibrate_thin does."""
    def rescale(module, output, spread, mean=0.0):
        w = {"m.weight": module.weight.data, "m.bias": module.bias.data}
        gc.calibrate(w, "m", output, spread, mean)
        module.weight.data, module.bias.data = w["m.weight"], w["m.bias"]

    v, _ = run(model, rgb)
    rows = torch.cat([torch.from_numpy(v[f"rpn_pred{i}"]).flatten(0, 2) for i in range(2, 6)])
    rescale(model.rpn.head.cls_logits, rows[:, :3], 2.0, gc.RPN_LOGIT_MEAN)
    rescale(model.rpn.head.bbox_pred, rows[:, 3:], gc.RPN_DELTA_SPREAD, gc.RPN_DELTA_MEAN)
    rows = torch.from_numpy(run(model, rgb)[0]["box_pred"])
    mean = torch.zeros(classes + 1)
    mean[0] = 1.5
    rescale(model.roi_heads.box_predictor.cls_score, rows[:, :classes + 1], 1.3, mean)
    rescale(model.roi_heads.box_predictor.bbox_pred, rows[:, classes + 1:], 0.8)
    if model.roi_heads.has_mask():
        pooled = torch.from_numpy(run(model, rgb)[0]["mask_features"]).permute(0, 3, 1, 2)
        with torch.no_grad():
            logits = model.roi_heads.mask_predictor(model.roi_heads.mask_head(pooled))
        rescale(model.roi_heads.mask_predictor.mask_fcn_logits, logits, 2.0)


def halve(model):
    """Rounds the weights to half precision in place; returns the state as the file holds it."""
    half = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in half.items()})
    return half


def old_names(state):
    """The names that the files of the first torchvision releases carry."""
    out = {}
    for name, value in state.items():
        name = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        for part in ("inner_blocks", "layer_blocks"):
            for level in range(4):
                name = name.replace(f"{part}.{level}.0.", f"{part}.{level}.")
        out[name] = value
    return out
