"""detectron2 Mask R-CNN R50-FPN inference written from its formulas with torch operators and Pillow."""
import math
import re

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image

import golden_common as gc

MEAN = (103.53, 116.28, 123.675)
WEIGHTS = (10.0, 10.0, 5.0, 5.0)

RENAMES = [
    (r"^backbone\.conv1\.", "backbone.bottom_up.stem.conv1."),
    (r"^backbone\.bn1\.", "backbone.bottom_up.stem.conv1.norm."),
    (r"^backbone\.layer(\d)\.(\d+)\.downsample\.0\.", r"backbone.bottom_up.res\1.\2.shortcut."),
    (r"^backbone\.layer(\d)\.(\d+)\.downsample\.1\.", r"backbone.bottom_up.res\1.\2.shortcut.norm."),
    (r"^backbone\.layer(\d)\.(\d+)\.conv(\d)\.", r"backbone.bottom_up.res\1.\2.conv\3."),
    (r"^backbone\.layer(\d)\.(\d+)\.bn(\d)\.", r"backbone.bottom_up.res\1.\2.conv\3.norm."),
    (r"^neck\.lateral_convs\.(\d)\.conv\.", r"backbone.fpn_lateral\1."),
    (r"^neck\.fpn_convs\.(\d)\.conv\.", r"backbone.fpn_output\1."),
    (r"^rpn_head\.rpn_conv\.", "proposal_generator.rpn_head.conv."),
    (r"^rpn_head\.rpn_cls\.", "proposal_generator.rpn_head.objectness_logits."),
    (r"^rpn_head\.rpn_reg\.", "proposal_generator.rpn_head.anchor_deltas."),
    (r"^roi_head\.bbox_head\.shared_fcs\.0\.", "roi_heads.box_head.fc1."),
    (r"^roi_head\.bbox_head\.shared_fcs\.1\.", "roi_heads.box_head.fc2."),
    (r"^roi_head\.bbox_head\.fc_cls\.", "roi_heads.box_predictor.cls_score."),
    (r"^roi_head\.bbox_head\.fc_reg\.", "roi_heads.box_predictor.bbox_pred."),
    (r"^roi_head\.mask_head\.convs\.(\d)\.conv\.", r"roi_heads.mask_head.mask_fcn\1."),
    (r"^roi_head\.mask_head\.upsample\.", "roi_heads.mask_head.deconv."),
    (r"^roi_head\.mask_head\.conv_logits\.", "roi_heads.mask_head.predictor."),
]
SHIFT = {"backbone.bottom_up.res": 1, "backbone.fpn_lateral": 2, "backbone.fpn_output": 2,
         "roi_heads.mask_head.mask_fcn": 1}


def rename(name):
    """detectron2's name of a weight; its stages count from res2, levels from 2, mask convolutions from 1."""
    for pattern, new in RENAMES:
        if re.match(pattern, name):
            name = re.sub(pattern, new, name)
            break
    for prefix, shift in SHIFT.items():
        if name.startswith(prefix) and name[len(prefix)].isdigit():
            name = f"{prefix}{int(name[len(prefix)]) + shift}{name[len(prefix) + 1:]}"
    return name


def target_size(width, height, long_side, short_side):
    scale = short_side / min(height, width)
    h, w = (short_side, scale * width) if height < width else (scale * height, short_side)
    if max(h, w) > long_side:
        scale = long_side / max(h, w)
        h, w = h * scale, w * scale
    return int(w + 0.5), int(h + 0.5)


def preprocess(rgb, long_side, short_side):
    height, width = rgb.shape[:2]
    new_w, new_h = target_size(width, height, long_side, short_side)
    bgr = np.asarray(Image.fromarray(rgb[:, :, ::-1].copy()).resize((new_w, new_h), Image.BILINEAR))
    x = torch.from_numpy(bgr.astype(np.float32)).permute(2, 0, 1)
    x = (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.ones(3, 1, 1)
    return F.pad(x, (0, -new_w % 32, 0, -new_h % 32))[None], (new_w, new_h)


def base_anchors(level):
    rows = []
    for ratio in (0.5, 1.0, 2.0):
        w = math.sqrt(float(32 << level) ** 2 / ratio)
        h = ratio * w
        rows.append([-w / 2, -h / 2, w / 2, h / 2])
    return torch.tensor(rows)


def decode(boxes, deltas, weights):
    """Delta to box; dw, dh clamped above only; not clipped."""
    w, h = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    cx, cy = boxes[:, 0] + 0.5 * w, boxes[:, 1] + 0.5 * h
    dx, dy = deltas[:, 0] / weights[0], deltas[:, 1] / weights[1]
    dw = (deltas[:, 2] / weights[2]).clamp(max=gc.DELTA_CLAMP)
    dh = (deltas[:, 3] / weights[3]).clamp(max=gc.DELTA_CLAMP)
    x, y = dx * w + cx, dy * h + cy
    pw, ph = dw.exp() * w, dh.exp() * h
    return torch.stack([x - 0.5 * pw, y - 0.5 * ph, x + 0.5 * pw, y + 0.5 * ph], dim=-1)


def levels_of(boxes):
    side = torch.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    return torch.floor(4 + torch.log2(side / 224 + 1e-8)).clamp(2, 5).long() - 2


def candidates(preds, pre_nms, size):
    boxes, scores, groups = [], [], []
    for level, (logits, deltas) in enumerate(preds):
        anchors = gc.grid_anchors(base_anchors(level), 4 << level, *logits.shape[2:])
        logit, delta = gc.flat(logits, deltas)
        logit, order = torch.sort(logit, descending=True, stable=True)
        order = order[:pre_nms]
        boxes.append(decode(anchors[order], delta[order], (1.0,) * 4))
        scores.append(logit[:pre_nms])
        groups.append(torch.full((len(order),), level))
    boxes, scores, groups = gc.clip(torch.cat(boxes), *size), torch.cat(scores), torch.cat(groups)
    ok = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return boxes[ok], scores[ok], groups[ok]


def box_candidates(logits, deltas, proposals, size):
    classes = logits.shape[1] - 1
    scores = F.softmax(logits, dim=1)[:, :classes].reshape(-1)
    boxes = gc.clip(decode(proposals.repeat_interleave(classes, 0), deltas.reshape(-1, 4), WEIGHTS), *size)
    labels = torch.arange(classes).repeat(len(proposals))
    ok = scores > 0.05
    return boxes[ok], scores[ok], labels[ok]


def run(w, thin, rgb, config):
    """Every value of the contract, by name."""
    v = {}
    height, width = rgb.shape[:2]
    x, size = preprocess(rgb, config["long_side"], config["short_side"])
    v["image"] = gc.nhwc(x)
    features = gc.backbone(w, thin, x)
    levels = gc.neck(w, features)
    preds = [gc.rpn_head(w, p) for p in levels]
    for i in range(4):
        v[f"c{i + 2}"] = gc.nhwc(features[i])
    for i in range(5):
        v[f"p{i + 2}"] = gc.nhwc(levels[i])
        v[f"rpn_pred{i + 2}"] = gc.nhwc(torch.cat(preds[i], dim=1))
    boxes, scores, groups = candidates(preds, config["rpn_pre_nms"], size)
    keep = torchvision.ops.batched_nms(boxes, scores, groups, 0.7)[:config["rpn_post_nms"]]
    v["rpn_boxes"], v["rpn_scores"], v["rpn_groups"] = gc.array(boxes), gc.array(scores), gc.array(groups)
    proposals = boxes[keep]
    v["proposals"], v["proposal_scores"] = gc.array(proposals), gc.array(scores[keep])
    v["proposal_groups"] = gc.array(groups[keep])

    pooled = gc.roi_features(levels, proposals, levels_of(proposals), 7)
    logits, deltas = gc.box_head(w, pooled)
    v["box_features"], v["box_pred"] = gc.nhwc(pooled), gc.array(torch.cat([logits, deltas], dim=1))
    boxes, scores, labels = box_candidates(logits, deltas, proposals, size)
    keep = torchvision.ops.batched_nms(boxes, scores, labels, 0.5)[:config["max_detections"]]
    v["cand_boxes"], v["cand_scores"], v["cand_labels"] = gc.array(boxes), gc.array(scores), gc.array(labels)
    boxes, scores, labels = boxes[keep], scores[keep], labels[keep]
    v["nms_boxes"], v["nms_scores"], v["nms_labels"] = gc.array(boxes), gc.array(scores), gc.array(labels)

    final = boxes.clone()
    final[:, 0::2] *= width / size[0]
    final[:, 1::2] *= height / size[1]
    final = gc.clip(final, width, height)
    full = (final[:, 2] > final[:, 0]) & (final[:, 3] > final[:, 1])
    final, boxes, scores, labels = final[full], boxes[full], scores[full], labels[full]
    v["det_boxes"], v["det_scores"], v["det_labels"] = gc.array(final), gc.array(scores), gc.array(labels)
    v["mask_rois"] = gc.array(boxes)
    pooled = gc.roi_features(levels, boxes, levels_of(boxes), 14)
    soft = gc.mask_head(w, pooled)[torch.arange(len(boxes)), labels].sigmoid()
    v["mask_features"], v["masks"] = gc.nhwc(pooled), gc.array(soft)
    return v, [gc.paste_grid(soft[i], final[i], width, height) for i in range(len(boxes))]


def checkpoint(w):
    """The object that pickle gets: numpy arrays, with what such files carry besides weights."""
    model = {rename(k): v.numpy() for k, v in w.items() if not k.endswith("num_batches_tracked")}
    model["pixel_mean"] = np.float32(MEAN).reshape(3, 1, 1)
    model["pixel_std"] = np.ones((3, 1, 1), dtype=np.float32)
    for level in range(5):
        model[f"proposal_generator.anchor_generator.cell_anchors.{level}"] = base_anchors(level).numpy()
    return {"model": model, "__author__": "golden vectors"}
