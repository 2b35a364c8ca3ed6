/* JPEG files decoded on the GPU against the CPU's pixels and detections. Skipped without a GPU or without nvJPEG. */
#include "gpu/decode_checks.h"
#include "harness.h"

#define NUCLEI_MODEL RCNN_SOURCE_DIR "/models/mask_rcnn_r50_fpn_nuclei.safetensors"

/* Ends the program where there is nothing to test. */
static decode_bed bed(void)
{
    static char why[700];
    char text[512] = "";
    const rcnn_backend_vt *vt = rcnn_backend_cuda();
    if (vt->probe(text, sizeof text) != RCNN_OK) {
        snprintf(why, sizeof why, "no GPU for the cuda backend: %s", text);
        SKIP(why);
    }
    if (rcnn_decoder_probe("cuda", text, sizeof text) != RCNN_OK) {
        snprintf(why, sizeof why, "no JPEG decoder for the GPU: %s", text);
        SKIP(why);
    }
    return (decode_bed){.vt = vt,
                        .full_max = 3, /* seen: 3 in progressive files, else 1 */
                        .full_mean = 0.5,
                        .subsampled_mean = 3,
                        .model = NUCLEI_MODEL,
                        .picture = RCNN_SOURCE_DIR "/samples/tissue.jpg",
                        .missing = 0.1};
}

#define CHECK_OF(name)                                                                                                 \
    TEST(name)                                                                                                         \
    {                                                                                                                  \
        const decode_bed b = bed();                                                                                    \
        decode_check_##name(&b);                                                                                       \
    }
CHECK_OF(pixels)
CHECK_OF(picture)
CHECK_OF(ring)
CHECK_OF(refused)
CHECK_OF(session)
CHECK_OF(damaged)

TEST(library)
{
    char text[512] = "";
    (void)bed();
    CHECK(rcnn_decoder_probe("cuda", text, sizeof text) == RCNN_OK && !strchr(text, '\n'));
    printf("{\"check\":\"library\",\"decoder\":\"%s\"}\n", text);
}

TEST_MAIN
