/* Version and build facts, as constants of this build plus what the backends say of their libraries. */
#include "base/status.h"

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

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
#ifdef _OPENMP
           "threads: OpenMP " TEXT(_OPENMP) "\n"
#else
           "threads: none\n"
#endif
#if RCNN_HAVE_ONEDNN
           "backends: cpu (oneDNN), ref\n"
#else
           "backends: ref (built without oneDNN)\n"
#endif
#if RCNN_HAVE_WEBP
           "images: jpeg, png, webp, pnm\n"
#else
           "images: jpeg, png, pnm (built without libwebp)\n"
#endif
           "sanitizers: " RCNN_SANITIZE;
}

int32_t rcnn_stage_count(void)
{
    static const char stages[] = {
#define STAGE(name, help) 0,
#include "stages/stages.def"
#undef STAGE
    };
    return (int32_t)sizeof stages;
}

const char *rcnn_stage_name(int32_t stage)
{
    static const char *const names[] = {
#define STAGE(name, help) #name,
#include "stages/stages.def"
#undef STAGE
    };
    return stage >= 0 && stage < rcnn_stage_count() ? names[stage] : NULL;
}
