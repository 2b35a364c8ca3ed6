/* What the command's tests run on: the fastest backend of the build, and a model that is quick on all of them. */
#ifndef RCNN_TESTS_THIN_MODEL_H
#define RCNN_TESTS_THIN_MODEL_H

#if RCNN_HAVE_ONEDNN
#define DEVICE "cpu"
#else
#define DEVICE "ref" /* fast enough for the thin model */
#endif
#define THIN_MODEL RCNN_SOURCE_DIR "/tests/golden/data/mmdet2/model.pth"

#endif
