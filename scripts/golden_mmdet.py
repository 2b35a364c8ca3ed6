"""mmdetection 2.x and 3.x Mask R-CNN inference written from its formulas with torch operators and OpenCV."""
import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F

import golden_common as gc

RGB = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375), "to_rgb": True}
CAFFE = {"mean": (103.53, 116.28, 123.675), "std": (1.0, 1.0, 1.0), "to_rgb": False}


def target_size(width, height, long_side, short_side):
    scale = min(long_side / max(width, height), short_side / min(width, height))
    return int(width * scale + 0.5), int(height * scale + 0.5)


def preprocess(rgb, norm, long_side, short_side):
    """Resized bytes in network channel order, normalised and padded [1,3,H,W], and the scale factors."""
    height, width = rgb.shape[:2]
    new_w, new_h = target_size(width, height, long_side, short_side)
    bgr = cv2.resize(rgb[:, :, ::-1].copy(), (new_w, new_h), interpolation=cv2.INTER_LINEAR)
    bytes_ = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB) if norm["to_rgb"] else bgr
    x = bytes_.astype(np.float32)
    mean = np.float64(np.float32(norm["mean"]).reshape(1, -1))
    cv2.subtract(x, mean, x)
    cv2.multiply(x, 1 / np.float64(np.float32(norm["std"]).reshape(1, -1)), x)
    x = cv2.copyMakeBorder(x, 0, -new_h % 32, 0, -new_w % 32, cv2.BORDER_CONSTANT, value=0)
    scale = np.array([new_w / width, new_h / height] * 2, dtype=np.float32)
    return torch.from_numpy(x).permute(2, 0, 1)[None].contiguous(), torch.from_numpy(scale), (new_w, new_h)


def base_anchors(level):
    ratios = torch.tensor([0.5, 1.0, 2.0])
    h_ratio = torch.sqrt(ratios)
    w_ratio = 1 / h_ratio
    side = float(4 << level)
    w, h = side * w_ratio * 8.0, side * h_ratio * 8.0
    return torch.stack([-0.5 * w, -0.5 * h, 0.5 * w, 0.5 * h], dim=-1)


def decode(boxes, deltas, std, width, height):
    """Delta to box with both sides of dw, dh clamped; clipped to the unpadded network image."""
    d = deltas * deltas.new_tensor(std)
    px, py = (boxes[:, 0] + boxes[:, 2]) * 0.5, (boxes[:, 1] + boxes[:, 3]) * 0.5
    pw, ph = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    limit = abs(math.log(16 / 1000))
    dw, dh = d[:, 2].clamp(-limit, limit), d[:, 3].clamp(-limit, limit)
    gx, gy = px + pw * d[:, 0], py + ph * d[:, 1]
    gw, gh = pw * dw.exp(), ph * dh.exp()
    return gc.clip(torch.stack([gx - gw * 0.5, gy - gh * 0.5, gx + gw * 0.5, gy + gh * 0.5], dim=-1), width, height)


def batched_nms(boxes, scores, groups, threshold, keep):
    """Indices kept: all groups moved apart in float32, one walk, inter > threshold * union suppresses."""
    moved = boxes + (groups.float() * (boxes.max() + 1))[:, None]
    inter, union = gc.iou_parts(moved)
    over = inter > threshold * union
    alive = torch.ones(len(boxes), dtype=torch.bool)
    kept = []
    for i in torch.sort(scores, descending=True, stable=True).indices.tolist():
        if alive[i]:
            kept.append(i)
            alive &= ~over[i]
            alive[i] = False
    return torch.tensor(kept[:keep], dtype=torch.long)


def levels_of(boxes):
    side = torch.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    return torch.floor(torch.log2(side / 56 + 1e-6)).clamp(0, 3).long()


def candidates(preds, pre_nms, width, height):
    boxes, scores, groups = [], [], []
    for level, (logits, deltas) in enumerate(preds):
        anchors = gc.grid_anchors(base_anchors(level), 4 << level, *logits.shape[2:])
        logit, delta = gc.flat(logits, deltas)
        score = logit.sigmoid()
        if len(score) > pre_nms:
            score, order = torch.sort(score, descending=True, stable=True)
            order = order[:pre_nms]
            score, delta, anchors = score[:pre_nms], delta[order], anchors[order]
        boxes.append(decode(anchors, delta, (1.0,) * 4, width, height))
        scores.append(score)
        groups.append(torch.full((len(score),), level))
    boxes, scores, groups = torch.cat(boxes), torch.cat(scores), torch.cat(groups)
    ok = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return boxes[ok], scores[ok], groups[ok]


def box_candidates(logits, deltas, proposals, size, scale, rescale):
    """(roi, class) pairs above 0.05, roi-major; boxes in image coordinates when `rescale`."""
    classes = logits.shape[1] - 1
    scores = F.softmax(logits, dim=1)[:, :classes]
    boxes = decode(proposals.repeat_interleave(classes, 0), deltas.reshape(-1, 4), (0.1, 0.1, 0.2, 0.2), *size)
    if rescale:
        boxes = boxes / scale
    labels = torch.arange(classes).repeat(len(proposals))
    scores = scores.reshape(-1)
    ok = scores > 0.05
    return boxes[ok], scores[ok], labels[ok]


def run(w, thin, rgb, config, version=2):
    """Every value of the contract, by name."""
    v = {}
    height, width = rgb.shape[:2]
    norm = CAFFE if thin.style == "caffe" else RGB
    x, scale, size = preprocess(rgb, norm, config["long_side"], config["short_side"])
    v["image"] = gc.nhwc(x)
    features = gc.backbone(w, thin, x)
    levels = gc.neck(w, features)
    preds = [gc.rpn_head(w, p) for p in levels]
    for i in range(4):
        v[f"c{i + 2}"] = gc.nhwc(features[i])
    for i in range(5):
        v[f"p{i + 2}"] = gc.nhwc(levels[i])
        v[f"rpn_pred{i + 2}"] = gc.nhwc(torch.cat(preds[i], dim=1))
    boxes, scores, groups = candidates(preds, config["rpn_pre_nms"], *size)
    keep = batched_nms(boxes, scores, groups, 0.7, config["rpn_post_nms"])
    v["rpn_boxes"], v["rpn_scores"], v["rpn_groups"] = gc.array(boxes), gc.array(scores), gc.array(groups)
    proposals = boxes[keep]
    v["proposals"], v["proposal_scores"] = gc.array(proposals), gc.array(scores[keep])
    v["proposal_groups"] = gc.array(groups[keep])

    pooled = gc.roi_features(levels, proposals, levels_of(proposals), 7)
    logits, deltas = gc.box_head(w, pooled)
    v["box_features"], v["box_pred"] = gc.nhwc(pooled), gc.array(torch.cat([logits, deltas], dim=1))
    rescale_first = version == 2 or not thin.mask
    boxes, scores, labels = box_candidates(logits, deltas, proposals, size, scale, rescale_first)
    keep = batched_nms(boxes, scores, labels, 0.5, config["max_detections"])
    v["cand_boxes"], v["cand_scores"], v["cand_labels"] = gc.array(boxes), gc.array(scores), gc.array(labels)
    boxes, scores, labels = boxes[keep], scores[keep], labels[keep]
    v["nms_boxes"], v["nms_scores"], v["nms_labels"] = gc.array(boxes), gc.array(scores), gc.array(labels)
    rois = boxes * scale if rescale_first else boxes
    final = boxes if rescale_first else boxes / scale
    v["det_boxes"], v["det_scores"], v["det_labels"] = gc.array(final), v["nms_scores"], v["nms_labels"]
    v["mask_rois"] = gc.array(rois)
    masks = []
    if thin.mask:
        pooled = gc.roi_features(levels, rois, levels_of(rois), 14)
        soft = gc.mask_head(w, pooled).sigmoid()[torch.arange(len(rois)), labels]
        v["mask_features"], v["masks"] = gc.nhwc(pooled), gc.array(soft)
        paste = rois / scale if rescale_first else final
        masks = [gc.paste_grid(soft[i], paste[i], width, height) for i in range(len(rois))]
    return v, masks


def config_text(thin, config):
    """The part of a training configuration that inference reads, as the framework dumps it."""
    norm = CAFFE if thin.style == "caffe" else RGB
    mask = f"dict(type='FCNMaskHead', num_convs=4, num_classes={thin.classes})" if thin.mask else "None"
    return f"""model = dict(
    type='{'MaskRCNN' if thin.mask else 'FasterRCNN'}',
    backbone=dict(type='ResNet', depth=50, num_stages=4, out_indices=(0, 1, 2, 3), style='{thin.style}'),
    roi_head=dict(mask_head={mask}),
    test_cfg=dict(
        rpn=dict(nms_pre={config['rpn_pre_nms']}, max_per_img={config['rpn_post_nms']},
                 nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=0),
        rcnn=dict(score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5), max_per_img={config['max_detections']},
                  mask_thr_binary=0.5)))
img_norm_cfg = dict(mean={list(norm['mean'])}, std={list(norm['std'])}, to_rgb={norm['to_rgb']})
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='MultiScaleFlipAug', img_scale=({config['long_side']}, {config['short_side']}), flip=False,
         transforms=[dict(type='Resize', keep_ratio=True), dict(type='Normalize', mean={list(norm['mean'])},
                     std={list(norm['std'])}, to_rgb={norm['to_rgb']}), dict(type='Pad', size_divisor=32)])
]
"""


def checkpoint(w, thin, config, version):
    """The object that torch.save gets."""
    names = tuple(f"thing{i}" for i in range(thin.classes))
    if version == 2:
        meta = {"mmdet_version": "2.19.1", "epoch": 12, "CLASSES": names, "config": config_text(thin, config)}
    else:
        meta = {"mmdet_version": "3.3.0", "mmengine_version": "0.10.3", "epoch": 12,
                "dataset_meta": {"classes": names}, "cfg": config_text(thin, config)}
    return {"meta": meta, "state_dict": w}
