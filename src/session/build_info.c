/* Version, build facts and stage names: constants of this build. */
#include "base/status.h"
#include "session/commit.h" /* made by cmake/commit.cmake */

#define TEXT_OF(x) #x
#define TEXT(x)    TEXT_OF(x)

#ifdef _OPENMP
#define THREADS "OpenMP " TEXT(_OPENMP)
#else
#define THREADS "none"
#endif

#if RCNN_HAVE_ONEDNN
#define BACKENDS "cpu (oneDNN), ref"
#else
#define BACKENDS "ref (built without oneDNN)"
#endif

#if RCNN_HAVE_WEBP
#define IMAGES "jpeg, png, webp, pnm"
#else
#define IMAGES "jpeg, png, pnm (built without libwebp)"
#endif

#if RCNN_HAVE_PROTOBUF_C
#define EXPORTS "onnx"
#else
#define EXPORTS "none (built without protobuf-c)"
#endif

const char *rcnn_version(void)
{
    return RCNN_VERSION_STRING;
}

const char *rcnn_build_info(void)
{
    return "version: " RCNN_VERSION_STRING "\n"
           "commit: " RCNN_COMMIT "\n"
           "compiler: " RCNN_COMPILER "\n"
           "build type: " RCNN_BUILD_TYPE "\n"
           "threads: " THREADS "\n"
           "backends: " BACKENDS "\n"
           "cuda module: " RCNN_CUDA_MODULE "\n"
           "images: " IMAGES "\n"
           "exports: " EXPORTS "\n"
           "sanitizers: " RCNN_SANITIZE;
}

static const char *const STAGE_NAMES[] = {
#define STAGE(name, help) #name,
#define TIMED(name, help) #name,
#include "stages/stages.def"
#undef TIMED
#undef STAGE
};

int32_t rcnn_stage_count(void)
{
    return (int32_t)(sizeof STAGE_NAMES / sizeof STAGE_NAMES[0]);
}

const char *rcnn_stage_name(int32_t stage)
{
    return stage >= 0 && stage < rcnn_stage_count() ? STAGE_NAMES[stage] : NULL;
}
